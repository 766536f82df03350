//! Plain memory: one side only, in ordinary memory slots. Nothing is confidential here.
#![allow(unsafe_code, reason = "memory slots hand the kernel addresses")]

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;

use crate::memory::GuestRam;

/// Sets up the VM's memory slots over `ram`.
pub fn set_memory_slots(vm: &VmFd, ram: &GuestRam) -> std::io::Result<()> {
    for (slot, (range, userspace_addr)) in (0u32..).zip(ram.host_mappings()) {
        let region = kvm_userspace_memory_region {
            slot,
            guest_phys_addr: range.start,
            memory_size: range.size,
            userspace_addr,
            flags: 0,
        };
        // SAFETY: `userspace_addr` maps `range.size` bytes for as long as `ram` lives, which the machine
        // keeps longer than the VM.
        unsafe { vm.set_user_memory_region(region) }.map_err(std::io::Error::from)?;
    }
    Ok(())
}
