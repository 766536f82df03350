//! The guest's side: ask for a secret, prove what we are, open what comes.
//!
//! [`AgentSession`] is the state machine, without I/O; [`attest`] drives it over any byte stream;
//! [`mailbox`] is the evidence provider of Cloister's simulator. All of it is `no_std` and `alloc`.
//!
//! The guest trusts nobody's word about the broker. The init data in CHALLENGE counts only if its
//! digest is the HOST_DATA of the guest's own report, and the broker's key only if that init data
//! names it. Without this pin no evidence is sent and no secret is accepted.
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

mod drive;
mod error;
mod evidence;
#[cfg(feature = "agent")]
pub mod linux;
pub mod mailbox;
mod session;

pub use drive::{Transport, TransportError, attest};
pub use error::AgentError;
pub use evidence::{Evidence, EvidenceError, EvidenceProvider, NoEvidence};
pub use session::{AgentSession, Progress, Step};

pub use crate::protocol::seal::Secret;
