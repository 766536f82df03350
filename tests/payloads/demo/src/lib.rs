//! The parts of the demo guest that need no machine beneath them, so that they can be tested on any.
//!
//! Whatever comes from the host is hostile here: it is copied once, checked, and answered with an error.
#![cfg_attr(not(test), no_std)]
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

extern crate alloc;

pub mod boot_info;
pub mod error;
pub mod exit;
pub mod pci;
pub mod platform;
#[cfg(test)]
mod testing;
pub mod virtio;
pub mod vsock;
