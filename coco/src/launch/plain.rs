//! A plain guest: no launch but loading.

use std::sync::Arc;

use cloister_firmware::plan::{LaunchPlan, PageKind, PageRun};
use kvm_bindings::kvm_cpuid_entry2;
use snafu::{ResultExt, ensure};

use super::kernel::Kernel;
use super::platform::{
    CpuidSnafu, Ground, KernelSnafu, LoadSnafu, NoMappedGuestMemfdSnafu, Platform, PlatformError, RamSnafu,
    ReadSnafu,
};
use crate::memory::{Converter, GuestRam, SharedMemory};
use crate::plain;
use crate::snp::cpuid_page;

/// Plain memory.
pub(super) struct Plain {
    kernel: Kernel,
    ram: GuestRam,
    converter: Arc<Converter>,
}

impl Plain {
    pub(super) fn open(ground: Ground) -> Result<Self, PlatformError> {
        let Ground { kernel, ram, guest_memfd, .. } = ground;
        let ram = if guest_memfd {
            in_guest_memfd(&kernel, &ram)?
        } else {
            memory_slots(&kernel, &ram)?;
            ram
        };
        let converter = Arc::new(Converter::plain(SharedMemory::new(ram.clone())));
        Ok(Plain { kernel, ram, converter })
    }
}

/// Memory slots without a private side.
pub(super) fn memory_slots(kernel: &Kernel, ram: &GuestRam) -> Result<(), PlatformError> {
    plain::set_memory_slots(kernel, ram).context(KernelSnafu { step: "setting up memory slots" })
}

/// RAM over the ranges of `ram` in a guest_memfd that is mapped, with its memory slots.
fn in_guest_memfd(kernel: &Kernel, ram: &GuestRam) -> Result<GuestRam, PlatformError> {
    let offered = plain::offers_guest_memfd(kernel);
    let offered = offered.context(KernelSnafu { step: "KVM_CHECK_EXTENSION(GUEST_MEMFD_FLAGS)" })?;
    ensure!(offered, NoMappedGuestMemfdSnafu);
    let ram = GuestRam::in_file(ram.ranges(), |size| plain::mapped_guest_memfd(kernel, size));
    let ram = ram.context(RamSnafu)?;
    plain::set_guest_memfd_slots(kernel, &ram).context(KernelSnafu { step: "setting up memory slots" })?;
    Ok(ram)
}

impl Platform for Plain {
    fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    fn load(&self, plan: &LaunchPlan, cpuid: &[kvm_cpuid_entry2]) -> Result<(), PlatformError> {
        let mut buffer = vec![0u8; 256 * PageRun::PAGE_SIZE];
        for run in &plan.pages {
            if run.kind == PageKind::Cpuid {
                let page = cpuid_page(cpuid).context(CpuidSnafu)?;
                self.ram.load(run.gpa, &page).context(LoadSnafu { label: run.label })?;
                continue;
            }
            let mut done = 0;
            while done < run.size() {
                let n = (run.size() - done).min(buffer.len() as u64);
                let chunk = &mut buffer[..n as usize];
                run.read(done, chunk).context(ReadSnafu)?;
                self.ram.load(run.gpa + done, chunk).context(LoadSnafu { label: run.label })?;
                done += n;
            }
        }
        Ok(())
    }

    fn finish(&self, _plan: &LaunchPlan) -> Result<(), PlatformError> {
        Ok(())
    }

    fn converter(&self) -> &Arc<Converter> {
        &self.converter
    }
}
