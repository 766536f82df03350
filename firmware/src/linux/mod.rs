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

pub mod elf;
mod error;

pub use elf::{Elf, ElfError, Segment};
pub use error::KernelError;
