//! Guests that boot through firmware.

use std::path::Path;

use cloister_coco::launch::PlatformKind;
use cloister_firmware::linux::{Blob, KernelHashes, KernelImage};
use cloister_firmware::ovmf::Firmware;
use cloister_firmware::plan::{
    FirmwareBoot, GuestLayout, ImageFile, InitialPrivacy, LaunchPlan, PlainFirmwareBoot, PlanError, Profile,
    TdxBoot, plan_firmware, plan_plain_firmware, plan_tdx,
};

use super::abilities::with_firmware;
use super::guest::Guest;
use crate::board::{FirmwareSpec, Handover};
use crate::refusal::Refusal;

/// The plan of a guest with the firmware `path`, and what that is told.
pub(super) fn plan(
    guest: &Guest,
    path: &Path,
    kind: PlatformKind,
    signature: u32,
) -> Result<(LaunchPlan, FirmwareSpec), Refusal> {
    let firmware = read(path)?;
    with_firmware(path, &firmware, guest.kernel.is_some(), kind)?;
    let checks = firmware.hash_area().map_err(|e| unusable(path, &e))?.is_some_and(|area| area.size > 0);
    let handover = guest.kernel.as_deref().map(|kernel| handover(guest, kernel, checks)).transpose()?;
    let hashes = handover.as_ref().and_then(|h| h.expected);
    let plan = match kind {
        PlatformKind::Off | PlatformKind::Protected => plain(guest, &firmware, hashes, signature),
        PlatformKind::Snp | PlatformKind::Sim => snp(guest, &firmware, hashes, kind, signature),
        PlatformKind::Tdx => tdx(guest, &firmware),
    };
    let plan = plan.map_err(|e| {
        Refusal::from_message("cannot plan the guest", &e.to_string(), "mend that and try again")
    })?;
    Ok((plan, FirmwareSpec { handover }))
}

fn plain(
    guest: &Guest,
    firmware: &Firmware,
    hashes: Option<KernelHashes>,
    signature: u32,
) -> Result<LaunchPlan, PlanError> {
    let Guest { memory, cpus: vcpus, .. } = *guest;
    plan_plain_firmware(PlainFirmwareBoot { firmware, hashes, memory, vcpus, signature })
}

fn snp(
    guest: &Guest,
    firmware: &Firmware,
    hashes: Option<KernelHashes>,
    kind: PlatformKind,
    signature: u32,
) -> Result<LaunchPlan, PlanError> {
    let mut plan = plan_firmware(FirmwareBoot {
        firmware,
        svsm: None,
        hashes,
        profile: Profile::Cloister,
        memory: guest.memory,
        vcpus: guest.cpus,
        signature,
        identity: guest.identity.clone(),
    })?;
    if kind == PlatformKind::Sim {
        // Firmware that finds no SEV in CPUID cannot know of the simulator, and shares nothing.
        plan.initial = InitialPrivacy::Shared;
    }
    Ok(plan)
}

/// A TD's kernel is not in the plan: the firmware measures it into RTMR1 and RTMR2.
fn tdx(guest: &Guest, firmware: &Firmware) -> Result<LaunchPlan, PlanError> {
    plan_tdx(TdxBoot {
        firmware,
        layout: GuestLayout::new(guest.memory),
        vcpus: guest.cpus,
        identity: guest.identity.clone(),
    })
}

/// The kernel as the firmware will be handed it, byte for byte as its file has it; hashed, if the firmware
/// `checks` it.
fn handover(guest: &Guest, kernel: &Path, checks: bool) -> Result<Handover, Refusal> {
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
    let initrd = guest.initrd.as_deref().map(open).transpose()?;
    for file in [Some(&image), initrd.as_ref()].into_iter().flatten() {
        if u32::try_from(file.len()).is_err() {
            return Err(Refusal::new(
                format_args!("cannot hand {} to the firmware", file.path()),
                "it has more than 4 GiB",
                "give a smaller one, or boot from a disk",
            ));
        }
    }
    let expected = if checks { Some(hashes(guest)?) } else { None };
    Ok(Handover { kernel: image, code_offset, initrd, cmdline: guest.cmdline.clone(), expected })
}

fn hashes(guest: &Guest) -> Result<KernelHashes, Refusal> {
    let hash = |path: &Path| {
        let file = std::fs::File::open(path);
        file.and_then(Blob::read).map_err(|e| unusable(path, &e))
    };
    let kernel = guest.kernel.as_deref().map_or_else(|| Ok(Blob::empty()), hash)?;
    let initrd = guest.initrd.as_deref().map(hash).transpose()?;
    Ok(KernelHashes::new(&kernel, initrd.as_ref(), &guest.cmdline))
}

/// Reads a firmware image.
pub(super) fn read(path: &Path) -> Result<Firmware, Refusal> {
    open(path).and_then(|file| Firmware::read(&file).map_err(|e| unusable(path, &e)))
}

fn open(path: &Path) -> Result<ImageFile, Refusal> {
    ImageFile::open(path).map_err(|e| unusable(path, &e))
}

pub(super) fn unusable(path: &Path, error: &dyn std::fmt::Display) -> Refusal {
    let what = format!("cannot boot with {}", path.display());
    Refusal::from_message(what, &error.to_string(), "give the path of a file of the right kind")
}
