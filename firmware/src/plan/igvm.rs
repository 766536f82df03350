//! A plan for a guest that comes as an IGVM file (coco.md 5.2).
//!
//! Pages are launched in the order of the file, parameters are filled when they are inserted, and the
//! state of the vCPUs comes last, because KVM measures it last. What KVM could not do as the file says is
//! refused here, before anything is created.

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

mod contexts;
mod error;
mod parameters;
mod steps;

pub(crate) use contexts::snp_contexts;
pub use error::IgvmPlanError;
pub use steps::{IgvmStep, igvm_steps};

use snafu::{OptionExt, ResultExt, ensure};

use self::contexts::plain_contexts;
use self::error::*;
use self::parameters::Values;
use self::steps::steps;
use super::{CpuState, GuestLayout, Identity, InitialPrivacy, LaunchPlan, MemoryRange, PageRun, machine};
use crate::igvm::{Directive, IdBlock, IgvmFile, Platform, PlatformType};
use crate::measure::Digest384;
use crate::ovmf::MAX_SIZE;

/// Whose way of loading a file is meant, where they differ in what is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Loader {
    /// Ours: as the format says. A page without data is a normal page of zeros; the vCPUs' state must come
    /// last in the file, where KVM measures it.
    #[default]
    Cloister,
    /// QEMU 11.1: the same pages. It loads the base of TR from that of LDTR, and does not mind where in the
    /// file the vCPUs' state is.
    Qemu,
    /// cloud-hypervisor: pages without data are the platform's zero pages, which measure otherwise.
    CloudHypervisor,
    /// None of KVM's: every header in its place, the vCPUs' state as the bytes that it is. What the format's
    /// own tools compute, and what signers of ID blocks sign.
    Igvm,
}

/// What a guest from an IGVM file is made of.
#[derive(Debug, Clone)]
pub struct IgvmBoot<'a> {
    /// The file.
    pub file: &'a IgvmFile,
    /// [`PlatformType::SEV_SNP`] or [`PlatformType::NATIVE`].
    pub platform: PlatformType,
    /// Whose way of loading.
    pub loader: Loader,
    /// RAM in bytes.
    pub memory: u64,
    /// Number of vCPUs; as many as the file has states for, if `None`.
    pub vcpus: Option<u32>,
    /// CPU signature (CPUID leaf 1, EAX): RDX of vCPUs at reset.
    pub signature: u32,
    /// The command line, if the file asks for one; without a NUL.
    pub cmdline: &'a str,
    /// The MADT, if the file asks for one.
    pub madt: Option<&'a [u8]>,
    /// Host data, and the policy and features for a file that has none.
    pub identity: Identity,
    /// Privacy of the memory that is not launched.
    pub initial: InitialPrivacy,
}

/// A plan, and what its author signed.
#[derive(Debug, Clone)]
pub struct IgvmPlan {
    /// The plan.
    pub plan: LaunchPlan,
    /// The signed ID block, for the platform.
    pub id_block: Option<IdBlock>,
    /// The launch digest that the ID block demands: the platform refuses any other.
    pub expected: Option<Digest384>,
}

/// Plans a guest from an IGVM file.
pub fn plan_igvm(boot: &IgvmBoot<'_>) -> Result<IgvmPlan, IgvmPlanError> {
    let file = boot.file;
    let on = platform(file, boot.platform)?;
    let contexts = match boot.platform {
        PlatformType::SEV_SNP => snp_contexts(file, &on, boot.loader)?,
        PlatformType::NATIVE => plain_contexts(file, &on, boot.signature)?,
        found => return NotPlannedSnafu { found }.fail(),
    };
    let states = u32::try_from(contexts.len()).unwrap_or(u32::MAX);
    let count = boot.vcpus.unwrap_or(states.max(1));
    let mut layout = machine::layout(boot.memory, count).context(MachineSnafu)?;
    // KVM would measure every other vCPU as well, which the file's author did not.
    let measured = boot.platform == PlatformType::SEV_SNP && states > 0;
    ensure!(count >= states && !(measured && count > states), VcpusSnafu { found: count, wanted: states });

    let features = contexts.first().map_or(boot.identity.vmsa_features, |c| c.features);
    let mut vcpus: Vec<CpuState> = contexts.into_iter().map(|c| c.cpu).collect();
    vcpus.resize(count as usize, CpuState::reset(boot.signature));

    memory_is_there(file, &on, &layout)?;
    let values = Values {
        vcpus: count,
        layout: &layout,
        cmdline: boot.cmdline,
        madt: boot.madt,
        memory_is_shared: boot.initial == InitialPrivacy::Shared,
    };
    let pages: Vec<PageRun> = steps(file, &on, boot.loader, Some(&values))?
        .into_iter()
        .filter_map(|step| match step {
            IgvmStep::Run(run) => Some(run),
            IgvmStep::Context { .. } => None,
        })
        .collect();
    layout.firmware = firmware(&pages);
    let policy = file.policy(&on).unwrap_or(boot.identity.policy);
    let id_block = file.id_block(&on);
    let plan = LaunchPlan {
        pages,
        vcpus,
        identity: Identity { policy, vmsa_features: features, ..boot.identity.clone() },
        layout,
        initial: boot.initial,
        td_hob: None,
    };
    plan.check().context(MachineSnafu)?;
    Ok(IgvmPlan {
        plan,
        id_block: id_block.map(|b| b.pack(policy)),
        expected: id_block.map(|b| b.launch_digest),
    })
}

/// The file's entry for a platform; refuses a file that is not for it, or wants what KVM has not.
pub(crate) fn platform(file: &IgvmFile, wanted: PlatformType) -> Result<Platform, IgvmPlanError> {
    let found = || {
        let names: Vec<_> = file.platforms().iter().map(|p| p.body.platform.to_string()).collect();
        names.join(", ")
    };
    file.platform(wanted).copied().with_context(|| NoPlatformSnafu { wanted, found: found() })
}

/// The range below 4 GiB that pages need beside the RAM: files with OVMF in them have it there.
fn firmware(pages: &[PageRun]) -> Option<MemoryRange> {
    let end = GuestLayout::HIGH_RAM;
    let window = end.saturating_sub(MAX_SIZE);
    let start = pages.iter().filter(|run| run.gpa >= window && run.end() <= end).map(|run| run.gpa).min()?;
    Some(MemoryRange::new(start, end.saturating_sub(start)))
}

/// REQUIRED_MEMORY must be RAM.
fn memory_is_there(file: &IgvmFile, on: &Platform, layout: &GuestLayout) -> Result<(), IgvmPlanError> {
    for header in file.directives_for(on) {
        if let Directive::RequiredMemory { gpa, bytes, .. } = header.body {
            let offset = header.offset;
            ensure!(layout.is_ram(gpa, bytes), RequiredMemorySnafu { offset, gpa, bytes });
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "igvm/tests.rs"]
mod tests;
