//! Intel TDX: KVM's ABI and the launch of a TD.
//!
//! Has never run on hardware. What holds it up: the struct layouts are checked against the kernel's
//! headers, and the launch runs over the simulated TDX module beneath the same structs.

pub mod abi;
pub mod buffer;
mod ioctl;

pub use ioctl::TdxIoctl;
