//! Plain memory: one side only. Nothing is confidential here.
//!
//! It lies in ordinary memory slots over a memfd, or, where the operator asks for it and the kernel offers it
//! (Linux 6.18), in a guest_memfd that is mapped: memory that no other process can map, is never swapped, and is
//! taken from the same allocator as a confidential guest's private side.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use kvm_bindings::{KVM_MEM_GUEST_MEMFD, kvm_userspace_memory_region, kvm_userspace_memory_region2};

use crate::launch::Kernel;
use crate::memory::GuestRam;

/// KVM_CAP_GUEST_MEMFD_FLAGS: which flags KVM_CREATE_GUEST_MEMFD takes (include/uapi/linux/kvm.h).
const KVM_CAP_GUEST_MEMFD_FLAGS: u32 = 244;
/// GUEST_MEMFD_FLAG_MMAP and GUEST_MEMFD_FLAG_INIT_SHARED: it can be mapped, and may be touched there.
const MAPPED_AND_SHARED: u64 = 1 << 0 | 1 << 1;

/// Sets up the VM's memory slots over `ram`, which the caller keeps longer than the VM.
pub fn set_memory_slots(kernel: &Kernel, ram: &GuestRam) -> io::Result<()> {
    for (slot, (range, userspace_addr)) in (0u32..).zip(ram.host_mappings()) {
        let region = kvm_userspace_memory_region {
            slot,
            guest_phys_addr: range.start,
            memory_size: range.size,
            userspace_addr,
            flags: 0,
        };
        kernel.set_user_memory_region(&region)?;
    }
    Ok(())
}

/// Whether this VM's memory can be a guest_memfd that is mapped.
pub fn offers_guest_memfd(kernel: &Kernel) -> io::Result<bool> {
    let flags = u64::from(kernel.check_vm_extension(KVM_CAP_GUEST_MEMFD_FLAGS)?);
    Ok(flags & MAPPED_AND_SHARED == MAPPED_AND_SHARED)
}

/// A guest_memfd of `size` bytes that can be mapped and touched, for [`GuestRam::in_file`].
pub fn mapped_guest_memfd(kernel: &Kernel, size: u64) -> io::Result<File> {
    kernel.create_guest_memfd(size, MAPPED_AND_SHARED).map(File::from)
}

/// Sets up the VM's memory slots over `ram`, whose file is a [`mapped_guest_memfd`] of this VM, and which the
/// caller keeps longer than the VM. KVM then serves all of the guest's faults from the file.
pub fn set_guest_memfd_slots(kernel: &Kernel, ram: &GuestRam) -> io::Result<()> {
    let guest_memfd = ram.file().as_raw_fd().unsigned_abs();
    let mut guest_memfd_offset = 0;
    for (slot, (range, userspace_addr)) in (0u32..).zip(ram.host_mappings()) {
        let region = kvm_userspace_memory_region2 {
            slot,
            flags: KVM_MEM_GUEST_MEMFD,
            guest_phys_addr: range.start,
            memory_size: range.size,
            userspace_addr,
            guest_memfd_offset,
            guest_memfd,
            ..Default::default()
        };
        kernel.set_user_memory_region2(&region)?;
        guest_memfd_offset += range.size;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
