//! What boots, and what it measures to. No KVM, no I/O but reading.
//!
//! - [`plan`]: the launch plan, a value computed before any file descriptor of KVM's is opened.
//! - [`measure`]: the digest that a plan will have, and why two digests differ.
//! - [`ovmf`], [`tdvf`]: firmware images, and what they want launched under SEV and TDX.
//! - [`igvm`]: guests as files of pages, parameters and vCPU states.
//! - [`explain`]: which inputs give a measurement, and what evidence says.
//! - [`identity`]: ID blocks, signed: which launch digest a guest's owner expects.
//! - [`linux`]: the formats that Linux kernels come in, and the blocks they are handed at boot.
//! - [`acpi`]: ACPI tables, in one block for guests without firmware.
//! - [`fw_cfg`]: what firmware is told about its machine.

pub mod acpi;
mod bytes;
pub mod explain;
pub mod fw_cfg;
pub mod identity;
pub mod igvm;
pub mod linux;
pub mod measure;
pub mod ovmf;
pub mod plan;
pub mod tdvf;

#[cfg(test)]
mod test_files;
#[cfg(test)]
mod test_firmware;
