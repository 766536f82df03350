//! The host's side of the device: the listener, the clients' first line, and the sockets.

mod bounce;
pub mod hybrid;
mod listener;
mod lobby;
mod messages;
mod socket;
mod vectored;

pub(super) use listener::{Attempt, Listener, Outgoing};
pub(super) use lobby::{ClientId, Heard, Lobby};
pub(super) use socket::{HostSocket, Received, Sent, refuse};
