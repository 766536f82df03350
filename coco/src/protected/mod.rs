//! KVM's software-protected VM (`KVM_X86_SW_PROTECTED_VM`): real private memory (guest_memfd and memory
//! attributes) on ordinary hardware. KVM itself can still read everything: it protects nothing, and is
//! there to exercise conversions for real (coco.md 6).
#![allow(unsafe_code, reason = "memory slots and guest_memfd hand the kernel addresses and descriptors")]

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use cloister_firmware::plan::{LaunchPlan, PageKind};
use kvm_bindings::{
    KVM_MEM_GUEST_MEMFD, KVM_MEMORY_ATTRIBUTE_PRIVATE, kvm_create_guest_memfd, kvm_memory_attributes,
    kvm_userspace_memory_region2,
};
use kvm_ioctls::VmFd;
use rustix::fs::FallocateFlags;

use crate::memory::{GuestRam, PrivateBacking, RamRange, resident};

/// guest_memfd behind every range of RAM.
#[derive(Debug)]
pub struct GuestMemfd {
    vm: Arc<VmFd>,
    slots: Vec<(RamRange, File)>,
    /// Pages that the launch puts into the shared side: no ioctl loads private memory of this VM type,
    /// so for KVM they stay shared. For devices they are private all the same.
    loaded: Vec<RamRange>,
}

impl GuestMemfd {
    /// Makes a guest_memfd for each range of `ram` and sets up the VM's memory slots over both sides.
    pub fn new(vm: Arc<VmFd>, ram: &GuestRam, plan: &LaunchPlan) -> std::io::Result<Self> {
        let mut slots = Vec::new();
        for (slot, (range, host)) in (0u32..).zip(ram.host_mappings()) {
            let request = kvm_create_guest_memfd { size: range.size, ..Default::default() };
            let fd = vm.create_guest_memfd(request).map_err(std::io::Error::from)?;
            // SAFETY: KVM_CREATE_GUEST_MEMFD returned a fresh descriptor that nobody else owns.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            // The kernel does not open it close-on-exec.
            rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
            let file = File::from(fd);
            let region = kvm_userspace_memory_region2 {
                slot,
                flags: KVM_MEM_GUEST_MEMFD,
                guest_phys_addr: range.start,
                memory_size: range.size,
                userspace_addr: host,
                guest_memfd: file.as_raw_fd().unsigned_abs(),
                ..Default::default()
            };
            // SAFETY: `host` maps `range.size` bytes for as long as `ram` lives, which the machine keeps
            // longer than the VM.
            unsafe { vm.set_user_memory_region2(region) }.map_err(std::io::Error::from)?;
            slots.push((range, file));
        }
        let mut loaded: Vec<_> = plan
            .pages
            .iter()
            .filter(|run| run.kind != PageKind::Shared)
            .map(|run| RamRange { start: run.gpa, size: run.size() })
            .collect();
        loaded.sort_by_key(|r| r.start);
        Ok(GuestMemfd { vm, slots, loaded })
    }

    /// The parts of `[gpa, gpa + len)` that are not loaded pages.
    fn unloaded(&self, gpa: u64, len: u64) -> Vec<RamRange> {
        let end = gpa.saturating_add(len);
        let mut at = gpa;
        let mut parts = Vec::new();
        for r in self.loaded.iter().filter(|r| r.end() > gpa && r.start < end) {
            if r.start > at {
                parts.push(RamRange { start: at, size: r.start - at });
            }
            at = at.max(r.end());
        }
        if at < end {
            parts.push(RamRange { start: at, size: end - at });
        }
        parts
    }
}

impl PrivateBacking for GuestMemfd {
    fn set_private(&self, gpa: u64, len: u64, private: bool) -> std::io::Result<()> {
        for part in self.unloaded(gpa, len) {
            let attributes = if private { u64::from(KVM_MEMORY_ATTRIBUTE_PRIVATE) } else { 0 };
            let request = kvm_memory_attributes {
                address: part.start,
                size: part.size,
                attributes,
                ..Default::default()
            };
            self.vm.set_memory_attributes(request).map_err(std::io::Error::from)?;
        }
        Ok(())
    }

    fn discard_private(&self, gpa: u64, len: u64) -> std::io::Result<()> {
        let end = gpa.saturating_add(len);
        for (range, file) in &self.slots {
            let (from, to) = (gpa.max(range.start), end.min(range.end()));
            if from < to {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                rustix::fs::fallocate(file, flags, from - range.start, to - from)?;
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
