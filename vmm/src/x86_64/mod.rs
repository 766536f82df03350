//! What is x86-64 about a machine: CPUID, MSRs, registers at launch.

mod cpuid;
mod msr;
mod registers;

pub(crate) use cpuid::{set_signature, vcpu_cpuid};
pub(crate) use msr::boot_msrs;
pub(crate) use registers::{kvm_registers, kvm_system_registers};
