//! OVMF images: the table of GUIDs at their end, and what it leads to.
//!
//! Images are hostile here: every offset and length is checked before it is used, and nothing is
//! allocated by a number from the image that was not bounded first.

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

pub(crate) mod block;
mod error;
mod guid;
mod igvm_params;
mod image;
pub(crate) mod sections;
mod sev;
mod table;

pub use error::FirmwareError;
pub(crate) use error::*;
pub use guid::{Guid, known};
pub use igvm_params::{IgvmParameter, IgvmParameters, ParameterId};
pub use image::{Area, Firmware, MAX_SIZE};
pub use sev::{SectionKind, SevMetadata, SevSection};
pub use table::{GuidEntry, GuidTable};

#[cfg(test)]
mod tests;
