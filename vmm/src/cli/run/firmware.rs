//! Guests that boot through firmware.

use std::path::Path;

use cloister_coco::launch::PlatformKind;
use cloister_firmware::linux::{Blob, KernelHashes, KernelImage};
use cloister_firmware::ovmf::Firmware;
use cloister_firmware::plan::{ImageFile, LaunchPlan, PlainFirmwareBoot, plan_plain_firmware};

use super::check::Checked;
use crate::board::{FirmwareSpec, Handover};
use crate::cli::demo::SIGNATURE;
use crate::refusal::Refusal;

/// The plan of a guest with the firmware `path`, and what that is told.
pub(super) fn plan(
    checked: &Checked,
    path: &Path,
    kind: PlatformKind,
) -> Result<(LaunchPlan, FirmwareSpec), Refusal> {
    if kind != PlatformKind::Off {
        return Err(Refusal::new(
            format_args!("cannot launch firmware on the platform `{kind}`"),
            "this version boots firmware in plain guests only",
            "use --coco off, or leave --firmware away to boot the kernel directly",
        ));
    }
    let firmware = open(path).and_then(|file| Firmware::read(&file).map_err(|e| unusable(path, &e)))?;
    let checks = firmware.hash_area().map_err(|e| unusable(path, &e))?.is_some_and(|area| area.size > 0);
    let handover = checked.kernel.as_deref().map(|kernel| handover(checked, kernel, checks)).transpose()?;
    let boot = PlainFirmwareBoot {
        firmware: &firmware,
        hashes: handover.as_ref().and_then(|h| h.expected),
        memory: checked.memory,
        vcpus: checked.cpus,
        signature: SIGNATURE,
    };
    let plan = plan_plain_firmware(boot).map_err(|e| {
        Refusal::from_message("cannot plan the guest", &e.to_string(), "mend that and try again")
    })?;
    Ok((plan, FirmwareSpec { handover }))
}

/// The kernel as the firmware will be handed it; hashed, if the firmware `checks` it.
fn handover(checked: &Checked, kernel: &Path, checks: bool) -> Result<Handover, Refusal> {
    let image = open(kernel)?;
    let code_offset = match KernelImage::detect(&image).map_err(|e| unusable(kernel, &e))? {
        KernelImage::BzImage(bzimage) => bzimage.code_offset,
        KernelImage::Pvh(_) => {
            return Err(Refusal::new(
                format_args!("cannot hand {} to the firmware", kernel.display()),
                "it is an uncompressed ELF, which firmware cannot boot",
                "give the bzImage of the same kernel: --kernel vmlinuz",
            ));
        }
    };
    let initrd = checked.initrd.as_deref().map(open).transpose()?;
    for file in [Some(&image), initrd.as_ref()].into_iter().flatten() {
        if u32::try_from(file.len()).is_err() {
            return Err(Refusal::new(
                format_args!("cannot hand {} to the firmware", file.path()),
                "it has more than 4 GiB",
                "give a smaller one, or boot from a disk",
            ));
        }
    }
    let expected = if checks { Some(hashes(checked)?) } else { None };
    Ok(Handover { kernel: image, code_offset, initrd, cmdline: checked.cmdline.clone(), expected })
}

fn hashes(checked: &Checked) -> Result<KernelHashes, Refusal> {
    let hash = |path: &Path| {
        let file = std::fs::File::open(path);
        file.and_then(Blob::read).map_err(|e| unusable(path, &e))
    };
    let kernel = checked.kernel.as_deref().map_or_else(|| Ok(Blob::empty()), hash)?;
    let initrd = checked.initrd.as_deref().map(hash).transpose()?;
    Ok(KernelHashes::new(&kernel, initrd.as_ref(), &checked.cmdline))
}

fn open(path: &Path) -> Result<ImageFile, Refusal> {
    ImageFile::open(path).map_err(|e| unusable(path, &e))
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> Refusal {
    let what = format!("cannot boot with {}", path.display());
    Refusal::from_message(what, &error.to_string(), "give the path of a file of the right kind")
}
