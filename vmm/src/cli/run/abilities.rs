//! Which platforms a guest can be launched on, by what it boots.

use std::path::Path;

use cloister_coco::launch::PlatformKind;
use cloister_firmware::ovmf::Firmware;
use cloister_firmware::tdvf::Tdvf;

use super::firmware::{read, unusable};
use super::guest::Guest;
use crate::refusal::Refusal;

/// Whether this guest can be launched on `kind`, and if not, why.
pub(super) fn can_launch(guest: &Guest, kind: PlatformKind) -> Result<(), Refusal> {
    match &guest.firmware {
        None => without_firmware(kind),
        Some(path) => with_firmware(path, &read(path)?, guest.kernel.is_some(), kind),
    }
}

/// A kernel by itself.
pub(super) fn without_firmware(kind: PlatformKind) -> Result<(), Refusal> {
    let (why, remedy) = match kind {
        PlatformKind::Sim | PlatformKind::Off => return Ok(()),
        PlatformKind::Protected => {
            return Err(converts_nothing(kind, "use --coco sim, or `cloister demo --coco protected`"));
        }
        PlatformKind::Snp => (
            "an ordinary kernel does not validate its memory (PVALIDATE), and without firmware nobody would",
            "add firmware that does, and that checks the kernel: --firmware OVMF.amdsev.fd",
        ),
        PlatformKind::Tdx => (
            "a TD starts in its firmware, which accepts memory and measures the kernel",
            "add firmware for TDs: --firmware OVMF.inteltdx.fd",
        ),
    };
    Err(Refusal::new(format_args!("cannot launch a kernel without firmware on `{kind}`"), why, remedy))
}

/// Firmware, and the kernel that it is handed if `kernel`.
pub(super) fn with_firmware(
    path: &Path,
    firmware: &Firmware,
    kernel: bool,
    kind: PlatformKind,
) -> Result<(), Refusal> {
    match kind {
        PlatformKind::Off => Ok(()),
        PlatformKind::Protected => {
            Err(converts_nothing(kind, "use --coco sim, or --coco off for a plain VM"))
        }
        PlatformKind::Snp | PlatformKind::Sim => for_snp(path, firmware, kernel, kind),
        PlatformKind::Tdx => {
            let tdvf = Tdvf::parse(firmware).map_err(|e| unusable(path, &e))?;
            tdvf.map(drop).ok_or_else(|| {
                lacks(path, kind, "TDVF metadata", "OVMF.inteltdx.fd (OvmfPkg/IntelTdx of edk2)")
            })
        }
    }
}

fn for_snp(path: &Path, firmware: &Firmware, kernel: bool, kind: PlatformKind) -> Result<(), Refusal> {
    let broken = |e| unusable(path, &e);
    let build = "OVMF.amdsev.fd (OvmfPkg/AmdSev of edk2)";
    let Some(metadata) = firmware.sev_metadata().map_err(broken)? else {
        return Err(lacks(path, kind, "SEV metadata", build));
    };
    if !kernel {
        return Ok(());
    }
    let area = firmware.hash_area().map_err(broken)?;
    // Without them the firmware would boot whatever the host hands it.
    match (area.is_some_and(|a| a.size > 0), metadata.kernel_hashes()) {
        (true, Some(_)) => Ok(()),
        (false, _) => Err(lacks(path, kind, "place for the hashes of the kernel", build)),
        (true, None) => Err(lacks(path, kind, "KERNEL_HASHES section for the hashes of the kernel", build)),
    }
}

fn lacks(path: &Path, kind: PlatformKind, missing: &str, build: &str) -> Refusal {
    Refusal::new(
        format_args!("cannot launch {} on `{kind}`", path.display()),
        format_args!("the firmware has no {missing}"),
        format_args!("use a build that has it, such as {build}"),
    )
}

fn converts_nothing(kind: PlatformKind, remedy: &str) -> Refusal {
    Refusal::new(
        format_args!("cannot launch this guest on `{kind}`"),
        "it would have to ask for every conversion itself, which ordinary firmware and kernels do not",
        remedy,
    )
}

#[cfg(test)]
#[path = "abilities_tests.rs"]
mod tests;
