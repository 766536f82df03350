//! Private memory that is there before the guest asks for it: KVM_PRE_FAULT_MEMORY.

use std::io;

use kvm_bindings::kvm_pre_fault_memory;

use super::Kernel;
use crate::memory::PreFault;

/// Populates through vCPU 0, between the end of the launch (before it KVM refuses, for SNP and TDX) and the
/// first KVM_RUN.
pub struct FirstVcpu<'a>(pub &'a Kernel);

impl PreFault for FirstVcpu<'_> {
    fn pre_fault(&mut self, gpa: u64, len: u64) -> io::Result<u64> {
        let mut request = kvm_pre_fault_memory { gpa, size: len, ..Default::default() };
        // The kernel says success if it did at least one page, and how many bytes are left.
        self.0.pre_fault_memory(0, &mut request)?;
        Ok(len.saturating_sub(request.size))
    }
}
