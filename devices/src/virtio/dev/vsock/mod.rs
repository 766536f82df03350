//! The socket device (virtio 1.3 §5.10): connections between the guest and Unix sockets on the host.
//!
//! - [`spec`]: the wire, no logic
//! - [`connections`]: who owes what to whom; a state machine without I/O
//! - [`muxer`]: the host's side: the listener, the clients' first line, the sockets

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

mod connections;
mod counters;
mod muxer;
pub mod spec;

pub use counters::{Counter, Counters};
