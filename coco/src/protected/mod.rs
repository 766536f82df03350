//! KVM's software-protected VM (`KVM_X86_SW_PROTECTED_VM`): real private memory (guest_memfd and memory
//! attributes) on ordinary hardware. KVM itself can still read everything: it protects nothing, and is
//! there to exercise conversions for real (coco.md 6). Its memory is that of SNP and TDX guests too:
//! [`GuestMemfd`].

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

use std::fs::File;
use std::os::fd::AsRawFd;

use cloister_firmware::plan::{LaunchPlan, PageKind};
use kvm_bindings::{KVM_MEM_GUEST_MEMFD, KVM_MEMORY_ATTRIBUTE_PRIVATE, kvm_userspace_memory_region2};
use rustix::fs::FallocateFlags;

use crate::launch::Kernel;
use crate::memory::{GuestRam, PrivateBacking, RamRange, resident};

/// guest_memfd behind every range of RAM.
pub struct GuestMemfd {
    kernel: Kernel,
    slots: Vec<(RamRange, File)>,
    /// Pages that the launch puts into the shared side, so that for KVM they stay shared. For devices they
    /// are private all the same.
    loaded: Vec<RamRange>,
}

impl GuestMemfd {
    /// Makes a guest_memfd for each range of `ram` and sets up the VM's memory slots over both sides. The
    /// caller keeps `ram` longer than the VM.
    pub fn new(kernel: Kernel, ram: &GuestRam) -> std::io::Result<Self> {
        let mut slots = Vec::new();
        for (slot, (range, host)) in (0u32..).zip(ram.host_mappings()) {
            let file = File::from(kernel.create_guest_memfd(range.size, 0)?);
            let region = kvm_userspace_memory_region2 {
                slot,
                flags: KVM_MEM_GUEST_MEMFD,
                guest_phys_addr: range.start,
                memory_size: range.size,
                userspace_addr: host,
                guest_memfd: file.as_raw_fd().unsigned_abs(),
                ..Default::default()
            };
            kernel.set_user_memory_region2(&region)?;
            slots.push((range, file));
        }
        Ok(GuestMemfd { kernel, slots, loaded: Vec::new() })
    }

    /// For a VM type with no ioctl that loads private memory: the plan's pages stay shared for KVM.
    pub fn with_pages_loaded_shared(mut self, plan: &LaunchPlan) -> Self {
        self.loaded = plan
            .pages
            .iter()
            .filter(|run| run.kind != PageKind::Shared)
            .map(|run| RamRange { start: run.gpa, size: run.size() })
            .collect();
        self.loaded.sort_by_key(|r| r.start);
        self
    }

    /// Calls `f` with address and length of each part of `[gpa, gpa + len)` that is not loaded pages.
    fn unloaded(
        &self,
        gpa: u64,
        len: u64,
        f: impl Fn(u64, u64) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        let end = gpa.saturating_add(len);
        let mut at = gpa;
        for r in self.loaded.iter().filter(|r| r.end() > gpa && r.start < end) {
            if r.start > at {
                f(at, r.start.saturating_sub(at))?;
            }
            at = at.max(r.end());
        }
        if at < end { f(at, end.saturating_sub(at)) } else { Ok(()) }
    }
}

impl PrivateBacking for GuestMemfd {
    fn set_private(&self, gpa: u64, len: u64, private: bool) -> std::io::Result<()> {
        let attributes = if private { u64::from(KVM_MEMORY_ATTRIBUTE_PRIVATE) } else { 0 };
        self.unloaded(gpa, len, |at, len| self.kernel.set_memory_attributes(at, len, attributes))
    }

    fn discard_private(&self, gpa: u64, len: u64) -> std::io::Result<()> {
        let end = gpa.saturating_add(len);
        for (range, file) in &self.slots {
            let (from, to) = (gpa.max(range.start), end.min(range.end()));
            if from < to {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                let at = from.saturating_sub(range.start);
                rustix::fs::fallocate(file, flags, at, to.saturating_sub(from))?;
            }
        }
        Ok(())
    }

    fn separate(&self) -> bool {
        true
    }

    fn held(&self) -> Option<u64> {
        self.slots.iter().map(|(_, file)| resident(file)).sum()
    }
}
