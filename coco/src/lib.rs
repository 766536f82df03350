//! What is private in a confidential guest, and how a guest gets that way.
//!
//! - [`memory`]: guest RAM, which pages are private, the devices' only window ([`memory::SharedMemory`]),
//!   and the one function that converts pages from private to shared and back.
//! - [`launch`]: the [`launch::Platform`] trait, its order of steps, the choice among platforms, and the seam to
//!   the kernel ([`launch::Kernel`]) that traces and dry runs stand at.
//! - [`snp`]: KVM's SEV-SNP ABI and launch.
//! - [`tdx`]: KVM's TDX ABI and launch.
//! - [`sim`]: a PSP and a TDX module in software beneath the same ioctl structs.
//! - [`doctor`]: what this host can do, and what is missing.
//! - [`protected`], [`plain`]: memory with and without a private side.

pub mod doctor;
pub mod launch;
pub mod memory;
pub mod plain;
pub mod protected;
pub mod sim;
pub mod snp;
pub mod tdx;
