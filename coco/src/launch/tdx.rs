//! Intel TDX: the launch of coco.md 3.2 over the real module. Has never run on hardware.

use std::sync::Arc;

use cloister_firmware::plan::LaunchPlan;
use kvm_bindings::{CpuId, kvm_cpuid_entry2};
use snafu::{OptionExt, ResultExt};

use super::kernel::Kernel;
use super::platform::{
    Ground, KernelSnafu, NoHobSnafu, Platform, PlatformError, TableSnafu, TdSnafu, VcpuStart, convert_all,
    create_vcpu,
};
use crate::memory::{Converter, SharedMemory, Target};
use crate::protected::GuestMemfd;
use crate::tdx::{Td, TdxLaunch, agreed_cpuid, with_topology};

/// A guest under TDX.
pub(super) struct Tdx {
    kernel: Kernel,
    converter: Arc<Converter>,
    td: Td,
    /// What every vCPU starts with in RCX and R8.
    hob: u64,
}

impl Tdx {
    /// INIT_VM, memory slots with their private side, everything private.
    pub(super) fn open(ground: Ground, plan: &LaunchPlan) -> Result<Self, PlatformError> {
        let Ground { kernel, ram, cpuid, .. } = ground;
        let hob = plan.td_hob.context(NoHobSnafu)?;
        let td = TdxLaunch::new(&kernel).init_vm(&plan.identity.tdx, cpuid.as_slice()).context(TdSnafu)?;
        let backing = GuestMemfd::new(kernel.clone(), &ram)
            .context(KernelSnafu { step: "making guest_memfd and its memory slots" })?;
        let converter = Converter::new(SharedMemory::new(ram.clone()), Box::new(backing));
        convert_all(&ram, &converter, Target::Private)?;
        Ok(Tdx { kernel, converter: Arc::new(converter), td, hob })
    }

    fn launch(&self) -> TdxLaunch<'_> {
        TdxLaunch::new(&self.kernel)
    }
}

impl Platform for Tdx {
    fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// The module sets the registers. KVM refuses to.
    fn add_vcpu(&self, id: u32, start: &VcpuStart<'_>) -> Result<(), PlatformError> {
        let supplied = with_topology(start.cpuid.as_slice());
        create_vcpu(&self.kernel, id, &CpuId::from_entries(&supplied).context(TableSnafu)?)?;
        self.launch().init_vcpu(id, self.hob).context(TdSnafu)?;
        // What the module shows the guest is not quite what was asked for: KVM shall know.
        let seen = self.launch().vcpu_cpuid(id).context(TdSnafu)?;
        let agreed = CpuId::from_entries(&agreed_cpuid(&supplied, &seen)).context(TableSnafu)?;
        self.kernel.set_cpuid2(id, &agreed).context(KernelSnafu { step: "KVM_SET_CPUID2" })
    }

    fn load(&self, plan: &LaunchPlan, _cpuid: &[kvm_cpuid_entry2]) -> Result<(), PlatformError> {
        self.launch().load(plan).context(TdSnafu)
    }

    fn finish(&self, _plan: &LaunchPlan) -> Result<(), PlatformError> {
        self.launch().finalize().context(TdSnafu)
    }

    fn converter(&self) -> &Arc<Converter> {
        &self.converter
    }

    fn td(&self) -> Option<&Td> {
        Some(&self.td)
    }
}
