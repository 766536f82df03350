//! The socket device (virtio 1.3 §5.10): connections between the guest and Unix sockets on the host.
//!
//! A host program connects to the device's socket, writes `CONNECT <port>\n` and reads `OK <port>\n`
//! once the guest accepted; see [`muxer::hybrid`]. The guest connects to port P of the host (address 2),
//! and the device to `<path>_P`.
//!
//! - [`spec`]: the wire, no logic
//! - [`connections`]: who owes what to whom; a state machine without I/O
//! - [`muxer`]: the host's side: the listener, the clients' first line, the sockets
//! - `worker`: owns queues, sockets and timers, and moves the bytes

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

mod config;
pub mod connections;
mod counters;
mod device;
pub mod muxer;
pub mod spec;
#[cfg(test)]
mod tests;
mod worker;

pub use config::{Timeouts, VsockConfig, VsockError};
pub use counters::{Counter, Counters};
pub use device::Vsock;
