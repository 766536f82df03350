//! Why a launch has another measurement than was predicted.
//!
//! - [`Evidence`]: what a report or a quote says that a launch measured to.
//! - [`SnpSearch`]: which inputs, of those that are commonly got wrong, give a launch digest.
//! - [`explain_mrtd`]: the same for MRTD.
//!
//! Where the launch itself can be watched, [`crate::measure::explain_difference`] is the better tool.

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

mod evidence;
mod kernel;
mod signatures;
mod snp;
mod tdx;

pub use evidence::{Evidence, EvidenceError, SnpClaims, TdxClaims};
pub use kernel::{KernelInputs, KernelVariant};
pub use signatures::{Signature, signatures};
pub use snp::{Combination, Found, Given, KnownFirmware, MAX_VCPUS, SnpSearch};
pub use tdx::explain_mrtd;
