//! The simulator's PSP over plain memory, or over the private memory of a software-protected VM: an SNP
//! launch in every step, with software in the hardware's place.

use std::sync::Arc;

use cloister_firmware::plan::{InitialPrivacy, LaunchPlan};
use kvm_bindings::{kvm_cpuid_entry2, kvm_regs, kvm_sregs};
use snafu::ResultExt;

use super::kernel::Kernel;
use super::plain::memory_slots;
use super::platform::{
    CpuidSnafu, Ground, KernelSnafu, LaunchSnafu, Platform, PlatformError, VcpuStart, convert_all,
    set_up_vcpu,
};
use crate::memory::{Converter, GuestRam, SharedMemory, Target};
use crate::protected::GuestMemfd;
use crate::sim::{SimPsp, VcpuRegisters};
use crate::snp::{SnpLaunch, cpuid_page};

/// A guest under the simulator.
pub(super) struct Simulated {
    kernel: Kernel,
    ram: GuestRam,
    converter: Arc<Converter>,
    psp: Arc<SimPsp>,
}

/// The simulator needs no `/dev/sev`.
const NO_SEV_FD: u32 = u32::MAX;

impl Simulated {
    /// Over plain memory.
    pub(super) fn open(ground: Ground, plan: &LaunchPlan) -> Result<Self, PlatformError> {
        Self::new(ground, plan, |kernel, ram, memory| {
            memory_slots(kernel, ram)?;
            Ok(Converter::plain(memory))
        })
    }

    /// Over a software-protected VM.
    pub(super) fn open_protected(ground: Ground, plan: &LaunchPlan) -> Result<Self, PlatformError> {
        Self::new(ground, plan, |kernel, ram, memory| {
            let backing = GuestMemfd::new(kernel.clone(), ram)
                .context(KernelSnafu { step: "making guest_memfd and its memory slots" })?;
            Ok(Converter::new(memory, Box::new(backing.with_pages_loaded_shared(plan))))
        })
    }

    fn new(
        ground: Ground,
        plan: &LaunchPlan,
        slots: impl FnOnce(&Kernel, &GuestRam, SharedMemory) -> Result<Converter, PlatformError>,
    ) -> Result<Self, PlatformError> {
        let Ground { kernel, ram, .. } = ground;
        let memory = SharedMemory::new(ram.clone());
        let vcpus = Registers { kernel: kernel.clone(), count: plan.vcpus.len() as u32 };
        let psp = SimPsp::new(ram.clone(), memory.clone(), Arc::new(vcpus))
            .context(KernelSnafu { step: "making the simulated PSP" })?;
        SnpLaunch::new(&kernel.simulated(&psp), NO_SEV_FD).start(&plan.identity).context(LaunchSnafu)?;
        let converter = slots(&kernel, &ram, memory)?;
        convert_all(&ram, &converter, Target::Private)?;
        Ok(Simulated { kernel, ram, converter: Arc::new(converter), psp: Arc::new(psp) })
    }
}

/// The registers of the VM's vCPUs, which the simulated KVM reads when the launch is closed.
struct Registers {
    kernel: Kernel,
    count: u32,
}

impl VcpuRegisters for Registers {
    fn registers(&self) -> std::io::Result<Vec<(kvm_regs, kvm_sregs)>> {
        (0..self.count).map(|id| Ok((self.kernel.regs(id)?, self.kernel.sregs(id)?))).collect()
    }
}

impl Platform for Simulated {
    fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    fn add_vcpu(&self, id: u32, start: &VcpuStart<'_>) -> Result<(), PlatformError> {
        self.psp.vcpu_created();
        set_up_vcpu(&self.kernel, id, start)
    }

    fn load(&self, plan: &LaunchPlan, cpuid: &[kvm_cpuid_entry2]) -> Result<(), PlatformError> {
        let page = cpuid_page(cpuid).context(CpuidSnafu)?;
        let ioctl = self.kernel.simulated(&*self.psp);
        SnpLaunch::new(&ioctl, NO_SEV_FD).load(plan, &page).context(LaunchSnafu).map(drop)
    }

    fn finish(&self, plan: &LaunchPlan) -> Result<(), PlatformError> {
        let ioctl = self.kernel.simulated(&*self.psp);
        SnpLaunch::new(&ioctl, NO_SEV_FD).finish(&plan.identity).context(LaunchSnafu)?;
        match plan.initial {
            InitialPrivacy::Private => Ok(()),
            InitialPrivacy::Shared => convert_all(&self.ram, &self.converter, Target::Shared),
        }
    }

    fn converter(&self) -> &Arc<Converter> {
        &self.converter
    }

    fn simulator(&self) -> Option<&Arc<SimPsp>> {
        Some(&self.psp)
    }
}
