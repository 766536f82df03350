//! A vsock stream to the host, from the guest's side.
//!
//! [`packet`] is the wire, [`Connection`] the state machine without I/O, [`Socket`] its queues and waits.

mod connection;
pub mod packet;
mod socket;

pub use connection::{Connection, Owed};
pub use socket::Socket;

/// Pages of the bounce region that a socket needs: a page for each of the three queues, and one for each
/// buffer to receive (16) and to send (8).
pub const BOUNCE_PAGES: u32 = 27;
