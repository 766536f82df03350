//! The simulator: a PSP in software, beneath the launch ioctl structs.
//!
//! [`SimPsp`] stands where `KVM_MEMORY_ENCRYPT_OP` would go to the kernel and the secure processor, so
//! that the production launch code runs unchanged. It keeps the launch state machine, refuses what
//! kernel and firmware refuse, computes the launch digest from the bytes that arrive (with code of its
//! own: nothing is shared with the prediction), and signs reports with a key that is public. What it
//! says proves nothing about hardware, and its certificates say so in their names.
//!
//! [`Mailbox`] is how a guest reaches it: four I/O ports in place of the GHCB.

mod certs;
mod digest;
mod mailbox;
mod psp;
mod report;
mod vmsa;

pub use mailbox::Mailbox;
pub use psp::{SimPsp, VcpuRegisters};
pub use report::REPORT_SIZE;

#[cfg(test)]
mod tests;
