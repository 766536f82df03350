//! SEV-SNP attestation reports: layout, parsing and verification. No I/O.
//!
//! [`layout`] is `no_std`, for the guest. The rest judges (feature `verifier`): [`verify`] takes the
//! report's bytes, the certificates that came with it, the policy, and what the session expects, and
//! gives a [`Verdict`] that tells every check with what was found and what was wanted.
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

pub mod layout;

#[cfg(feature = "verifier")]
mod appraise;
#[cfg(feature = "verifier")]
mod chain;
#[cfg(feature = "verifier")]
mod product;
#[cfg(feature = "verifier")]
mod rejection;
#[cfg(feature = "verifier")]
mod report;
#[cfg(feature = "verifier")]
pub mod roots;
#[cfg(feature = "verifier")]
mod tcb;
#[cfg(feature = "verifier")]
mod vek;
#[cfg(feature = "verifier")]
mod verdict;
#[cfg(feature = "verifier")]
mod verify;

#[cfg(feature = "verifier")]
pub use {
    product::Product,
    rejection::Rejection,
    report::{GuestPolicy, KeyInfo, PlatformInfo, Report, SigningKey},
    tcb::{Component, Tcb},
    verdict::{Check, Verdict},
    verify::{Expected, HostData, verify, verify_snp_evidence},
};
