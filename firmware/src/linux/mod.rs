//! Linux kernels: their file formats and what they are handed at boot.
//!
//! Files are hostile here: every offset and length is checked before it is used, and nothing is
//! allocated by a number from a file that was not bounded first.

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

mod boot_params;
mod bzimage;
pub mod elf;
mod error;
mod hashes;
mod image;
mod memory_map;
mod pvh;

pub use boot_params::{Pointers, boot_params, cc_blob};
pub use bzimage::{BzImage, ENTRY_64, SETUP_HEADER, SETUP_HEADER_LIMIT};
pub use elf::{Elf, ElfError};
pub use error::KernelError;
pub use hashes::{Blob, BlobHasher, HashTableError, KernelHashes, TABLE_SIZE};
pub use image::{KernelImage, PvhKernel};
pub use memory_map::{MapEntry, RangeKind, memory_map};
pub use pvh::start_info;
