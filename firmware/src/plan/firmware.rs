//! A plan for a guest that boots through firmware under SNP: the image, what its metadata asks for, and
//! vCPUs at the reset vector.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use snafu::{OptionExt, ResultExt, ensure};

use super::error::*;
use super::profile::{Profile, svsm_vcpu};
use super::{
    CpuState, GuestLayout, Identity, InitialPrivacy, LaunchPlan, MAX_VCPUS, MemoryRange, PageKind, PageRun,
    PlanError, machine,
};
use crate::linux::{KernelHashes, TABLE_SIZE};
use crate::ovmf::{
    Firmware, FirmwareError, HashTablePlaceSnafu, NoKernelHashesSnafu, NoResetBlockSnafu, NoSevMetadataSnafu,
    NotAnSvsmSnafu, SectionKind, SevMetadata, SevSection, known,
};

/// The most vCPUs of a prediction for another launcher: what QEMU's q35 has.
pub const MAX_PREDICTED_VCPUS: u32 = 4096;

/// What a firmware guest is made of.
#[derive(Debug, Clone)]
pub struct FirmwareBoot<'a> {
    /// The image.
    pub firmware: &'a Firmware,
    /// An SVSM below it, which then is what starts.
    pub svsm: Option<Svsm<'a>>,
    /// Hashes of a kernel that the firmware will be handed; `None` if it boots by itself.
    pub hashes: Option<KernelHashes>,
    /// Who launches it.
    pub profile: Profile,
    /// RAM in bytes. Not measured, and not looked at for other launchers' guests.
    pub memory: u64,
    /// Number of vCPUs.
    pub vcpus: u32,
    /// CPU signature (CPUID leaf 1, EAX).
    pub signature: u32,
    /// Policy and identity.
    pub identity: Identity,
}

/// A coconut-svsm binary.
#[derive(Debug, Clone, Copy)]
pub struct Svsm<'a> {
    /// The binary, still ending at 4 GiB.
    pub image: &'a Firmware,
    /// Bytes between its end and the firmware's first byte: the variable store.
    pub vars_size: u64,
}

/// Plans a firmware guest for SNP.
pub fn plan_firmware(boot: FirmwareBoot<'_>) -> Result<LaunchPlan, PlanError> {
    let FirmwareBoot { firmware, profile, vcpus, signature, .. } = boot;
    let ours = profile == Profile::Cloister;
    let max = if ours { MAX_VCPUS } else { MAX_PREDICTED_VCPUS };
    ensure!((1..=max).contains(&vcpus), FirmwareVcpusSnafu { vcpus, max, profile: profile.name() });
    let memory = if ours { boot.memory } else { GuestLayout::LOW_RAM_END };
    let mut layout = machine::layout(memory, 1)?;
    layout.firmware = Some(MemoryRange::new(firmware.base(), firmware.bytes().len() as u64));

    let mut pages = vec![image_run(firmware, "firmware")];
    let all = match boot.svsm {
        None => {
            pages.extend(sections(firmware, boot.hashes.as_ref(), profile).context(FirmwareSnafu)?);
            firmware_vcpus(firmware, profile, vcpus, signature).context(FirmwareSnafu)?
        }
        Some(svsm) => {
            ensure!(boot.hashes.is_none(), SvsmWithKernelSnafu);
            let end = firmware.base().saturating_sub(svsm.vars_size);
            let image = svsm.image.clone().ending_at(end).context(SvsmSnafu)?;
            pages.push(image_run(&image, "SVSM"));
            pages.extend(sections(&image, None, profile).context(SvsmSnafu)?);
            let entry = image.svsm_entry().and_then(|e| e.context(NotAnSvsmSnafu { guid: known::SVSM_INFO }));
            vec![svsm_vcpu(signature, entry.context(SvsmSnafu)?); vcpus as usize]
        }
    };
    let plan = LaunchPlan {
        pages,
        vcpus: all,
        identity: boot.identity,
        layout,
        initial: InitialPrivacy::Private,
        td_hob: None,
    };
    // Where other launchers have RAM is theirs to know.
    if ours {
        plan.check()?;
    }
    Ok(plan)
}

fn image_run(image: &Firmware, label: &'static str) -> PageRun {
    PageRun::bytes(image.base(), PageKind::Measured, label, image.shared_bytes())
}

/// The sections with a size, in launch order.
fn sections(
    image: &Firmware,
    hashes: Option<&KernelHashes>,
    profile: Profile,
) -> Result<Vec<PageRun>, FirmwareError> {
    let metadata = image.sev_metadata()?.context(NoSevMetadataSnafu)?;
    let hash_run = hashes.map(|hashes| hash_run(image, &metadata, hashes)).transpose()?;
    let is_last = |s: &&SevSection| profile.cpuid_last() && s.kind == SectionKind::CPUID;
    let all = metadata.sections.iter().filter(|s| s.size > 0);
    let ordered = all.clone().filter(|s| !is_last(s)).chain(all.clone().filter(is_last));
    Ok(ordered
        .map(|section| match (&hash_run, section.kind) {
            (Some(run), SectionKind::KERNEL_HASHES) => run.clone(),
            (_, kind) => {
                let (kind, label) = profile.section(kind);
                PageRun::empty(section.gpa, section.size.div_ceil(PageRun::PAGE_SIZE as u64), kind, label)
            }
        })
        .collect())
}

/// The section for kernel hashes with the table where the firmware will look for it.
fn hash_run(
    image: &Firmware,
    metadata: &SevMetadata,
    hashes: &KernelHashes,
) -> Result<PageRun, FirmwareError> {
    let area = image.hash_area()?.filter(|a| a.size > 0 && a.gpa > 0);
    let area = area.context(NoKernelHashesSnafu { missing: "place for a table of kernel hashes" })?;
    let section = metadata.kernel_hashes();
    let section =
        section.context(NoKernelHashesSnafu { missing: "KERNEL_HASHES section in its SEV metadata" })?;
    let (start, end) = (section.gpa, section.gpa.saturating_add(section.size));
    let gpa = u64::from(area.gpa);
    let inside = gpa >= start && gpa.saturating_add(TABLE_SIZE as u64) <= end;
    let fits = inside && area.size as usize >= TABLE_SIZE;
    ensure!(fits, HashTablePlaceSnafu { gpa: area.gpa, size: area.size, wanted: TABLE_SIZE, start, end });
    // A section's size is bounded by the parser.
    let mut bytes = vec![0; usize::try_from(gpa.saturating_sub(start)).unwrap_or(0)];
    bytes.extend_from_slice(&hashes.table());
    bytes.resize(usize::try_from(section.size).unwrap_or(0), 0);
    Ok(PageRun::bytes(start, PageKind::Measured, "kernel hashes", bytes))
}

fn firmware_vcpus(
    firmware: &Firmware,
    profile: Profile,
    count: u32,
    signature: u32,
) -> Result<Vec<CpuState>, FirmwareError> {
    let mut all = vec![profile.first_vcpu(signature)];
    if count > 1 {
        let eip = firmware.reset_eip()?.context(NoResetBlockSnafu)?;
        all.resize(count as usize, profile.other_vcpu(signature, eip));
    }
    Ok(all)
}

#[cfg(test)]
#[path = "firmware_tests.rs"]
mod tests;
