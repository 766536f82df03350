//! A plan for a plain guest that boots through firmware: the image where the reset vector is, and what
//! the firmware will check a kernel against.

use snafu::ResultExt;

use super::error::*;
use super::{
    CpuState, Identity, InitialPrivacy, LaunchPlan, MemoryRange, PageKind, PageRun, PlanError, machine,
};
use crate::linux::{KernelHashes, TABLE_SIZE};
use crate::ovmf::Firmware;

/// How much of the image's end is below 1 MiB as well: what a processor in real mode can reach (QEMU's
/// hw/i386/x86-common.c, `isa-bios`).
const LOW_COPY: MemoryRange = MemoryRange::new(0xe_0000, 0x2_0000);

/// What a plain firmware guest is made of.
#[derive(Debug, Clone)]
pub struct PlainFirmwareBoot<'a> {
    /// The image.
    pub firmware: &'a Firmware,
    /// Hashes of the kernel that the firmware will be handed, for firmware that checks it.
    pub hashes: Option<KernelHashes>,
    /// RAM in bytes.
    pub memory: u64,
    /// Number of vCPUs.
    pub vcpus: u32,
    /// CPU signature (CPUID leaf 1, EAX).
    pub signature: u32,
}

/// Plans a firmware guest for a plain VM.
pub fn plan_plain_firmware(boot: PlainFirmwareBoot<'_>) -> Result<LaunchPlan, PlanError> {
    let PlainFirmwareBoot { firmware, hashes, memory, vcpus, signature } = boot;
    let mut layout = machine::layout(memory, vcpus)?;
    let image = firmware.bytes();
    layout.firmware = Some(MemoryRange::new(firmware.base(), image.len() as u64));

    let mut pages = vec![
        PageRun::bytes(firmware.base(), PageKind::Measured, "firmware", firmware.shared_bytes()),
        low_copy(image),
    ];
    if let Some(hashes) = hashes {
        pages.extend(hash_run(firmware, &hashes).context(FirmwareSnafu)?);
    }
    let vcpus = vec![CpuState::reset(signature); vcpus as usize];
    let plan = LaunchPlan {
        pages,
        vcpus,
        identity: Identity::default(),
        layout,
        initial: InitialPrivacy::Shared,
        td_hob: None,
    };
    plan.check()?;
    Ok(plan)
}

fn low_copy(image: &[u8]) -> PageRun {
    let len = image.len().min(LOW_COPY.size as usize);
    let end = image.get(image.len().saturating_sub(len)..).unwrap_or_default();
    let start = LOW_COPY.end().saturating_sub(len as u64);
    PageRun::bytes(start, PageKind::Measured, "firmware below 1 MiB", end)
}

/// The table where the firmware looks for it; `None` if it does not look.
fn hash_run(
    firmware: &Firmware,
    hashes: &KernelHashes,
) -> Result<Option<PageRun>, crate::ovmf::FirmwareError> {
    let Some(area) = firmware.hash_area()?.filter(|a| a.size as usize >= TABLE_SIZE && a.gpa > 0) else {
        return Ok(None);
    };
    let gpa = u64::from(area.gpa);
    let page = gpa & !(PageRun::PAGE_SIZE as u64 - 1);
    let mut bytes = vec![0; gpa.saturating_sub(page) as usize];
    bytes.extend_from_slice(&hashes.table());
    Ok(Some(PageRun::bytes(page, PageKind::Measured, "kernel hashes", bytes)))
}

#[cfg(test)]
#[path = "plain_tests.rs"]
mod tests;
