//! What a platform does to launch a guest, in the order in which the board asks for it.

use std::sync::Arc;

use cloister_firmware::plan::{InitialPrivacy, LaunchPlan, SourceError};
use kvm_bindings::{CpuId, Msrs, kvm_cpuid_entry2, kvm_regs, kvm_sregs};
use snafu::{ResultExt, Snafu, ensure};

use super::kernel::Kernel;
use super::plain::Plain;
use super::remedy::remedy;
use super::simulated::Simulated;
use super::snp::Snp;
use super::snp_host::{self, SnpHostError};
use super::tdx::Tdx;
use super::{PlatformKind, vm};
use crate::memory::{ConvertError, Converter, GuestRam, PAGE_SIZE, RamError, Target};
use crate::sim::SimPsp;
use crate::snp::{LaunchError, TooManyLeaves};
use crate::tdx::{Td, TdxLaunchError};

/// What a platform is built on.
#[derive(Clone)]
pub struct Ground {
    /// The kernel, without a VM yet.
    pub kernel: Kernel,
    /// The guest's RAM.
    pub ram: GuestRam,
    /// A plain guest's memory is to be a guest_memfd: of `ram`, only the ranges are used.
    pub guest_memfd: bool,
    /// The CPUID table of vCPU 0.
    pub cpuid: CpuId,
    /// SNP: whether the guest may ask for certificates with its reports (KVM_EXIT_SNP_REQ_CERTS).
    pub certificates: bool,
}

/// A vCPU as it is to start.
pub struct VcpuStart<'a> {
    /// Its CPUID table.
    pub cpuid: &'a CpuId,
    /// Model-specific registers that firmware would have set.
    pub msrs: Option<&'a Msrs>,
    /// General registers.
    pub regs: kvm_regs,
    /// System registers, from those that KVM holds.
    pub sregs: &'a dyn Fn(kvm_sregs) -> kvm_sregs,
}

/// What can go wrong on the way to a running guest.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(super)))]
pub enum PlatformError {
    /// The kernel refused a step.
    #[snafu(display("{step}: {source}{}", remedy(step, source)))]
    Kernel {
        /// What was to be done.
        step: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// This KVM does not make VMs of that type.
    #[snafu(display("this host's KVM makes no {kind} VMs (KVM_CAP_VM_TYPES lacks bit {vm_type})"))]
    NoSuchVm {
        /// The platform asked for.
        kind: PlatformKind,
        /// Its VM type.
        vm_type: u64,
    },
    /// The host does not give what an SNP guest asks for.
    #[snafu(display("{source}"))]
    SnpHost {
        /// What.
        source: SnpHostError,
    },
    /// A launch command was refused.
    #[snafu(display("{source}"))]
    Launch {
        /// The refusal.
        source: LaunchError,
    },
    /// The CPUID table does not fit where the platform wants it.
    #[snafu(display("{source}"))]
    Cpuid {
        /// The cause.
        source: TooManyLeaves,
    },
    /// This KVM's plain VMs cannot have their memory in a guest_memfd.
    #[snafu(display(
        "this host's KVM offers no guest_memfd that can be mapped (KVM_CAP_GUEST_MEMFD_FLAGS; Linux 6.18 does)"
    ))]
    NoMappedGuestMemfd,
    /// RAM could not be made.
    #[snafu(display("{source}"))]
    Ram {
        /// The cause.
        source: RamError,
    },
    /// A page's privacy could not be set.
    #[snafu(display("setting up private memory: {source}"))]
    Convert {
        /// The cause.
        source: ConvertError,
    },
    /// The bytes of a page could not be read.
    #[snafu(display("{source}"))]
    Read {
        /// The cause.
        source: SourceError,
    },
    /// A page of the plan is not in RAM.
    #[snafu(display("loading {label}: {source}"))]
    Load {
        /// What was being loaded.
        label: &'static str,
        /// The cause.
        source: RamError,
    },
    /// The plan is for a guest whose memory starts shared.
    #[snafu(display(
        "the plan leaves the guest's memory shared, and a {kind} guest's memory starts private"
    ))]
    PlannedShared {
        /// The platform asked for.
        kind: PlatformKind,
    },
    /// A step of a TD's launch was refused.
    #[snafu(display("{source}"))]
    Td {
        /// The refusal.
        source: TdxLaunchError,
    },
    /// The plan does not say where a TD's hand-off blocks are.
    #[snafu(display("the plan has no hand-off blocks for a TD: it is not for TDX firmware"))]
    NoHob,
    /// A CPUID table is longer than KVM takes.
    #[snafu(display("a table for KVM: {source:?}"))]
    Table {
        /// The cause.
        source: vmm_sys_util::fam::Error,
    },
}

/// A platform under a guest: its VM is there, the launch is opened, memory is private. The board calls
/// the steps in the order in which they stand here. After an error the VM is of no use: drop it all.
pub trait Platform: Send + Sync {
    /// The kernel with the VM.
    fn kernel(&self) -> &Kernel;

    /// Makes vCPU `id` in its launch state. Ids count up from 0, and are the guest's APIC ids.
    fn add_vcpu(&self, id: u32, start: &VcpuStart<'_>) -> Result<(), PlatformError> {
        set_up_vcpu(self.kernel(), id, start)
    }

    /// vCPUs are there: the plan's pages go in, in order. `cpuid` is vCPU 0's table, for the plan's CPUID
    /// page.
    fn load(&self, plan: &LaunchPlan, cpuid: &[kvm_cpuid_entry2]) -> Result<(), PlatformError>;

    /// The launch is closed; the guest may run.
    fn finish(&self, plan: &LaunchPlan) -> Result<(), PlatformError>;

    /// The one that converts pages, and through it the devices' memory.
    fn converter(&self) -> &Arc<Converter>;

    /// The TD, under TDX.
    fn td(&self) -> Option<&Td> {
        None
    }

    /// The simulator, where there is one beside the kernel.
    fn simulator(&self) -> Option<&Arc<SimPsp>> {
        None
    }
}

/// Makes the VM on `ground`, with memory slots and what privacy needs of the kernel, and opens the launch.
pub fn platform(
    kind: PlatformKind,
    ground: Ground,
    plan: &LaunchPlan,
) -> Result<Box<dyn Platform>, PlatformError> {
    let shared = plan.initial == InitialPrivacy::Shared;
    ensure!(!(shared && kind.is_hardware()), PlannedSharedSnafu { kind });
    vm::check_type(&ground.kernel, kind)?;
    if kind == PlatformKind::Snp {
        let certificates = ground.certificates;
        snp_host::check(&ground.kernel, &plan.identity, certificates).context(SnpHostSnafu)?;
    }
    vm::make(&ground.kernel, kind)?;
    match kind {
        PlatformKind::Off => Ok(Box::new(Plain::open(ground)?)),
        PlatformKind::Sim => Ok(Box::new(Simulated::open(ground, plan)?)),
        PlatformKind::Protected => Ok(Box::new(Simulated::open_protected(ground, plan)?)),
        PlatformKind::Snp => Ok(Box::new(Snp::open(ground, plan)?)),
        PlatformKind::Tdx => Ok(Box::new(Tdx::open(ground, plan)?)),
    }
}

/// Makes a vCPU whose registers are ours to set.
pub(super) fn set_up_vcpu(kernel: &Kernel, id: u32, start: &VcpuStart<'_>) -> Result<(), PlatformError> {
    create_vcpu(kernel, id, start.cpuid)?;
    if let Some(msrs) = start.msrs {
        // KVM stops at the first that it does not know; none of them is needed.
        let _ = kernel.set_msrs(id, msrs);
    }
    // KVM's own reset state is not the one that is measured: both, on every vCPU.
    let base = kernel.sregs(id).context(KernelSnafu { step: "KVM_GET_SREGS" })?;
    kernel.set_sregs(id, &(start.sregs)(base)).context(KernelSnafu { step: "KVM_SET_SREGS" })?;
    kernel.set_regs(id, &start.regs).context(KernelSnafu { step: "KVM_SET_REGS" })
}

pub(super) fn create_vcpu(kernel: &Kernel, id: u32, cpuid: &CpuId) -> Result<(), PlatformError> {
    kernel.create_vcpu(id).context(KernelSnafu { step: "KVM_CREATE_VCPU" })?;
    kernel.set_cpuid2(id, cpuid).context(KernelSnafu { step: "KVM_SET_CPUID2" })
}

/// Converts all of RAM, a range at a time.
pub(super) fn convert_all(ram: &GuestRam, converter: &Converter, to: Target) -> Result<(), PlatformError> {
    for r in ram.ranges() {
        converter.convert(r.start, r.size / PAGE_SIZE, to).context(ConvertSnafu)?;
    }
    Ok(())
}
