//! What boots, and what it measures to. No KVM, no I/O but reading.
//!
//! - [`plan`]: the launch plan, a value computed before any file descriptor of KVM's is opened.
//! - [`measure`]: the digest that a plan will have, and why two digests differ.
//! - [`igvm`]: guests as files of pages, parameters and vCPU states.
//! - [`linux`]: the formats that Linux kernels come in, and the blocks they are handed at boot.
//! - [`acpi`]: ACPI tables for guests without firmware.

pub mod acpi;
pub mod igvm;
pub mod linux;
pub mod measure;
pub mod plan;

#[cfg(test)]
mod test_files;
