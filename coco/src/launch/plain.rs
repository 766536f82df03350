//! A plain guest: no launch but loading.

use std::sync::Arc;

use cloister_firmware::plan::{LaunchPlan, PageKind, PageRun};
use kvm_bindings::kvm_cpuid_entry2;
use snafu::ResultExt;

use super::kernel::Kernel;
use super::platform::{CpuidSnafu, Ground, KernelSnafu, LoadSnafu, Platform, PlatformError, ReadSnafu};
use crate::memory::{Converter, GuestRam, SharedMemory};
use crate::snp::cpuid_page;

/// Plain memory.
pub(super) struct Plain {
    kernel: Kernel,
    ram: GuestRam,
    converter: Arc<Converter>,
}

impl Plain {
    pub(super) fn open(ground: Ground) -> Result<Self, PlatformError> {
        let Ground { kernel, ram, .. } = ground;
        memory_slots(&kernel, &ram)?;
        let converter = Arc::new(Converter::plain(SharedMemory::new(ram.clone())));
        Ok(Plain { kernel, ram, converter })
    }
}

/// Memory slots without a private side.
pub(super) fn memory_slots(kernel: &Kernel, ram: &GuestRam) -> Result<(), PlatformError> {
    crate::plain::set_memory_slots(kernel, ram).context(KernelSnafu { step: "setting up memory slots" })
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
