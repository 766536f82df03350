//! The simulated TDX module, and KVM's half of its commands.
//!
//! [`SimTdx`] stands where `KVM_MEMORY_ENCRYPT_OP` would go to the kernel and the TDX module, so that the
//! production launch code runs unchanged. It refuses what they refuse, computes MRTD from the bytes that
//! arrive (with code of its own: nothing is shared with the prediction), and makes TDREPORTs with a MAC
//! whose key is public. What it says proves nothing about hardware.

mod cpuid;
mod init;
mod module;
mod mrtd;
mod platform;
mod report;

pub use module::SimTdx;
pub use platform::TdxPlatform;
pub(super) use report::{CPU_SVN, Checked, checked};
pub use report::{TDREPORT_SIZE, TEE_TCB_SVN};

#[cfg(test)]
mod tests;
