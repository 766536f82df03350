//! SEV-SNP launch: KVM's ABI and the order of its steps.
//!
//! [`SnpLaunch`] runs unchanged over the real kernel ([`crate::launch::Kernel`]) and over the simulator
//! ([`crate::sim::SimPsp`]), which stands beneath the same ioctl structs.

pub mod abi;
pub mod certs;
mod cpuid_diff;
mod cpuid_page;
mod firmware_code;
mod launch;
mod refusal;
pub mod termination;

pub use cpuid_diff::CpuidDifference;
pub(crate) use cpuid_diff::lines as cpuid_lines;
pub use cpuid_page::{TooManyLeaves, cpuid_page};
pub use launch::{LaunchError, SevIoctl, SnpLaunch};
