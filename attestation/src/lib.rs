//! Evidence, verdicts and secrets for confidential guests.
//!
//! Two machines that do not trust each other meet here. The guest proves what it is, and the broker
//! on the host (or a key service behind it) releases a secret that only this guest can open.
//!
//! * [`protocol`]: the wire, CCAT/1: frames, messages, transcript, sealing. `no_std` and `alloc`.
//! * [`agent`]: the guest's side, a state machine without I/O. `no_std` and `alloc`.
//! * [`snp`]: the SEV-SNP attestation report: layout, and verification (feature `verifier`).
//! * `certs`, `policy`: certificate tables, and what a verdict is judged by (feature `verifier`).
//! * `broker`: the host's side (feature `broker`).
//! * `sim_pki`: the public key material of Cloister's simulator, which proves nothing.
//!
//! Everything that arrives from the other side is hostile. Parsers work on bounded input, copy a
//! value once, and answer with an error instead of a panic.
#![cfg_attr(not(any(feature = "std", test)), no_std)]

extern crate alloc;

pub mod agent;
#[cfg(feature = "broker")]
pub mod broker;
#[cfg(feature = "verifier")]
pub mod certs;
#[cfg(feature = "verifier")]
pub mod crypto;
#[cfg(any(feature = "agent", feature = "broker"))]
pub mod os;
#[cfg(feature = "verifier")]
pub mod policy;
pub mod protocol;
pub mod sim_pki;
pub mod snp;
#[cfg(all(test, feature = "verifier"))]
mod testing;
#[cfg(feature = "verifier")]
pub mod time;

/// The source of randomness, handed in by whoever runs the state machine.
///
/// It must fill the whole buffer with cryptographically secure random bytes, and must not return if it
/// cannot. As a last line of defence an all-zero result is refused where keys and nonces are made.
pub type Random = fn(&mut [u8]);
