//! The steps of a launch up to a guest that may run: the same over the kernel and in a dry run.

use std::sync::Arc;

use cloister_coco::launch::{
    DryKernel, Ground, Kernel, Platform, PlatformError, PlatformKind, Trace, VcpuStart, platform,
};
use cloister_coco::memory::{GuestRam, RamError, RamRange};
use cloister_firmware::plan::{GuestLayout, LaunchPlan, MemoryRange};
use kvm_bindings::CpuId;
use snafu::{ResultExt, Snafu, ensure};

use crate::x86_64::{boot_msrs, kvm_registers, kvm_system_registers, set_signature, vcpu_cpuid};

/// Why a launch failed. Nothing of it is left: VM, memory and descriptors are gone with it.
#[derive(Debug, Snafu)]
pub(crate) enum LaunchError {
    #[snafu(display("{source}"))]
    Ram { source: RamError },
    #[snafu(display("{step}: {source}"))]
    Kernel { step: &'static str, source: std::io::Error },
    #[snafu(display("/dev/kvm speaks API version {version}, not 12"))]
    Version { version: i32 },
    #[snafu(display("{source}"))]
    Platform { source: PlatformError },
    #[snafu(display("a table for KVM: {source:?}"))]
    Table { source: vmm_sys_util::fam::Error },
}

/// What is launched, beside its plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LaunchOptions {
    pub(crate) kind: PlatformKind,
    /// SNP: whether the guest may ask for certificates with its reports.
    pub(crate) certificates: bool,
    /// A plain guest: its memory is to be a guest_memfd.
    pub(crate) guest_memfd: bool,
}

/// A launch under way: everything is there but the guest's first pages.
pub(crate) struct Launch {
    platform: Box<dyn Platform>,
    cpuid: CpuId,
}

/// Launches the guest over a kernel that is none: every step, and nothing of KVM's is opened. The digest that
/// is computed beneath, if anything beneath computes one.
pub(crate) fn dry_run(
    plan: &LaunchPlan,
    options: LaunchOptions,
    trace: Option<Arc<Trace>>,
) -> Result<Option<[u8; 48]>, LaunchError> {
    let ram = guest_ram(plan)?;
    let dry = DryKernel::new(options.kind, ram.clone());
    let dry = Arc::new(dry.context(KernelSnafu { step: "making the simulated processor" })?);
    let kernel = Kernel::new(Arc::clone(&dry) as _).traced(trace);
    let platform = Launch::begin(kernel, ram, plan, options)?.close(plan)?;
    Ok(platform.simulator().map(|psp| psp.digest()).or_else(|| dry.digest()))
}

/// The guest's memory, all of it shared yet and empty.
pub(crate) fn guest_ram(plan: &LaunchPlan) -> Result<GuestRam, LaunchError> {
    GuestRam::new(&ram_ranges(&plan.layout)).context(RamSnafu)
}

/// All memory of the guest, ascending: RAM, and between its two parts the firmware.
fn ram_ranges(layout: &GuestLayout) -> Vec<RamRange> {
    let mut ranges: Vec<MemoryRange> = layout.ram.iter().copied().chain(layout.firmware).collect();
    ranges.sort_by_key(|r| r.start);
    ranges.into_iter().map(|r| RamRange { start: r.start, size: r.size }).collect()
}

impl Launch {
    /// VM, memory, launch context, vCPUs in their launch state.
    pub(crate) fn begin(
        kernel: Kernel,
        ram: GuestRam,
        plan: &LaunchPlan,
        options: LaunchOptions,
    ) -> Result<Self, LaunchError> {
        let LaunchOptions { kind, certificates, guest_memfd } = options;
        let version = kernel.api_version().context(KernelSnafu { step: "KVM_GET_API_VERSION" })?;
        ensure!(version == 12, VersionSnafu { version });
        let supported = kernel.supported_cpuid();
        let mut supported = supported.context(KernelSnafu { step: "KVM_GET_SUPPORTED_CPUID" })?;
        // The CPU that is measured, in RDX, is the CPU that the guest is told of. Where RDX holds none (payloads,
        // IGVM files), it is the host's: there is no family 0.
        let measured = plan.vcpus.first().and_then(|first| u32::try_from(first.rdx).ok());
        if let (PlatformKind::Snp, Some(signature @ 1..)) = (kind, measured) {
            set_signature(&mut supported, signature);
        }
        // A plan has at most 254 vCPUs.
        let count = plan.vcpus.len() as u32;
        let cpuid = vcpu_cpuid(&supported, 0, count).context(TableSnafu)?;
        let ground = Ground { kernel, ram, cpuid: cpuid.clone(), certificates, guest_memfd };
        let platform = platform(kind, ground, plan).context(PlatformSnafu)?;
        // Firmware sets them itself, and wants them as a reset leaves them.
        let msrs = if plan.layout.firmware.is_none() { Some(boot_msrs().context(TableSnafu)?) } else { None };
        for (id, state) in (0..count).zip(&plan.vcpus) {
            let start = VcpuStart {
                cpuid: &vcpu_cpuid(&supported, id, count).context(TableSnafu)?,
                msrs: msrs.as_ref(),
                regs: kvm_registers(state),
                sregs: &|base| kvm_system_registers(state, base),
            };
            platform.add_vcpu(id, &start).context(PlatformSnafu)?;
        }
        Ok(Launch { platform, cpuid })
    }

    /// The platform, for what devices need of it.
    pub(crate) fn platform(&self) -> &dyn Platform {
        &*self.platform
    }

    /// The plan's pages go in, and the launch is closed: the guest may run.
    pub(crate) fn close(self, plan: &LaunchPlan) -> Result<Box<dyn Platform>, LaunchError> {
        self.platform.load(plan, self.cpuid.as_slice()).context(PlatformSnafu)?;
        self.platform.finish(plan).context(PlatformSnafu)?;
        Ok(self.platform)
    }
}

#[cfg(test)]
#[path = "launch_tests.rs"]
mod tests;
