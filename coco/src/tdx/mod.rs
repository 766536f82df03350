//! Intel TDX: KVM's ABI and the launch of a TD.
//!
//! Has never run on hardware. What holds it up: the struct layouts are checked against the kernel's
//! headers, and the launch runs over the simulated TDX module beneath the same structs.
//!
//! - [`TdxLaunch`]: the steps, over [`TdxIoctl`].
//! - [`Capabilities`], [`agreed_cpuid`]: what the host offers, and what vCPUs are told.
//! - [`quote`], [`vmcall`], [`qgs`], [`fatal`]: what a running TD asks and says.
//! - [`SeamcallStatus`]: what the TDX module says when it refuses; [`explain`]: what KVM says.

pub mod abi;
pub mod buffer;
mod capabilities;
mod cpuid;
mod error;
pub mod fatal;
mod ioctl;
mod launch;
pub mod qgs;
pub mod quote;
mod refusal;
mod status;
pub mod vmcall;

pub use capabilities::{Capabilities, Limit, NotOffered};
pub use cpuid::{ADDRESS_WIDTH, CpuidError, SHARED_BIT, agreed_cpuid, with_topology};
pub use error::TdxLaunchError;
pub use ioctl::TdxIoctl;
pub use launch::{Td, TdxLaunch};
pub use qgs::QuoteServiceAddress;
pub use refusal::{Explanation, explain};
pub use status::{Operand, SeamcallStatus};

#[cfg(test)]
mod fake_kvm;
#[cfg(test)]
mod launch_test;
