//! The IGVM format: a guest as a file of pages, parameters and vCPU states (specification: crate
//! `igvm_defs` 0.5.0; coco.md 5.1).
//!
//! A file is hostile bytes. [`IgvmFile::read`] checks every length and offset, the order and the rules
//! between headers, and never allocates by a number that was not checked against the file's length and a
//! limit of ours. What the headers say is kept; the data stays in the file and is read when it is needed.
//!
//! - [`IgvmFile`]: a file, its platforms, policies and directives.
//! - [`IdBlock`]: the signed ID block, packed for a launch.
//! - [`vp`]: vCPU states of a file, and whether KVM can reproduce them.
//! - [`write`]: files from values, for tests and tools.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod check;
mod defs;
mod directive;
mod entry;
mod error;
mod file;
mod header;
mod id_block;
pub mod vp;
pub mod write;

pub use defs::{KVM_VMSA_GPA, PageDataType, PageFlags, ParameterKind, PlatformType};
pub use directive::{Directive, Header, Initialization, Platform};
pub use error::IgvmError;
pub use file::IgvmFile;
pub use header::FixedHeader;
pub use id_block::{ID_AUTH_LEN, ID_BLOCK_LEN, IdBlock, IdBlockHeader};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vp_tests;
