//! Intel TDX: KVM's ABI and the launch of a TD.
//!
//! Has never run on hardware. What holds it up: the struct layouts are checked against the kernel's
//! headers, and the launch runs over the simulated TDX module beneath the same structs.
//!
//! - [`SeamcallStatus`]: what the TDX module says when it refuses; [`explain`]: what KVM says.

pub mod abi;
pub mod buffer;
mod ioctl;
mod refusal;
mod status;

pub use ioctl::TdxIoctl;
pub use refusal::{Explanation, explain};
pub use status::{Operand, SeamcallStatus};
