//! The standard worker: one thread that owns a device's queues, files and timers while it is active.
//!
//! A device gives its state to a [`Worker`] as a [`Handler`] and gets it back from [`Worker::stop`].
//! In between nothing else touches it, so it needs no locks.
//!
//! Readiness is edge-triggered (mio): an event says that a file *became* ready. A handler therefore reads
//! or writes until `WouldBlock`, or asks to be called again ([`Ctx::again`]) when it has done its share,
//! or asks for the event anew ([`Ctx::reregister`]). Doorbells are drained by the worker before the
//! handler is called.
//!
//! Errors: of one request or connection, the handler ends that one; of a queue, it calls
//! [`crate::virtio::Failure::needs_reset`]. Neither ends the worker: it goes on until it is stopped, so
//! that a reset always finds it.

mod ctx;
mod run;
#[cfg(test)]
mod tests;
mod timers;

pub use ctx::{Ctx, Interest, Ready, Token};
pub use run::{Handler, Worker};
