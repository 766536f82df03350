//! The connections of one guest, as a synchronous state machine: a packet or a host event goes in, what
//! the worker must do on the host comes out, and what is owed to the guest is remembered as flags.
//!
//! Touches no queue and no socket, takes the time as an argument, holds no data. Whatever order a
//! hostile guest puts packets in, the answer is a reset or nothing.

mod action;
mod connection;
mod credit;
mod resets;
mod table;
mod timers;
mod turns;

#[cfg(test)]
mod property_test;
#[cfg(test)]
mod table_test;

pub use action::{Action, Ended, Kinds, Limits, Turn};
pub use table::{NoConnection, Table};
pub(super) use timers::{Timers, after};

/// What names a connection on the wire. An [`Instance`] names it in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pair {
    /// The guest's port.
    pub guest: u32,
    /// The host's port.
    pub host: u32,
}

/// One connection, ever: a later one on the same [`Pair`] has another number, so that an event meant
/// for this one cannot reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Instance(pub u64);
