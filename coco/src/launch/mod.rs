//! Launching a guest: the platform trait, its order of steps, the choice among platforms, and the seam to
//! the kernel.

mod choice;
pub mod kernel;
mod plain;
mod platform;
mod prefault;
mod remedy;
mod simulated;
mod snp;
mod snp_host;
mod tdx;
mod vm;

pub use choice::{Choice, Considered, HostAbilities, PlatformKind, Request, choose};
pub use kernel::{DryKernel, Kernel, KvmKernel, LaunchKernel, Trace};
pub use platform::{Ground, Platform, PlatformError, VcpuStart, platform};
pub use prefault::FirstVcpu;
pub use snp_host::SnpHostError;
pub use vm::IOAPIC_PINS;

#[cfg(test)]
mod snp_tests;
