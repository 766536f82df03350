//! Plain memory: one side only, in ordinary memory slots. Nothing is confidential here.

use kvm_bindings::kvm_userspace_memory_region;

use crate::launch::Kernel;
use crate::memory::GuestRam;

/// Sets up the VM's memory slots over `ram`, which the caller keeps longer than the VM.
pub fn set_memory_slots(kernel: &Kernel, ram: &GuestRam) -> std::io::Result<()> {
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
