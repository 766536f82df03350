//! What a handler can ask of its worker.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bitflags::bitflags;
use mio::unix::SourceFd;

use super::timers::Timers;
use crate::virtio::Doorbell;

/// What to watch a file for.
pub use mio::Interest;
/// Names a source of events; the handler chooses it. `usize::MAX` is the worker's own.
pub use mio::Token;

/// The token of the eventfd that stops the worker.
pub(super) const STOP: Token = Token(usize::MAX);

bitflags! {
    /// What a source is ready for.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Ready: u8 {
        /// Reading would not block (or there is an error to be read).
        const READABLE = 1;
        /// Writing would not block.
        const WRITABLE = 1 << 1;
        /// The other end will send no more.
        const READ_CLOSED = 1 << 2;
        /// The other end will take no more.
        const WRITE_CLOSED = 1 << 3;
        /// The file has an error.
        const ERROR = 1 << 4;
        /// A doorbell rang; the worker has drained it.
        const KICK = 1 << 5;
        /// The handler asked for it with [`Ctx::again`].
        const AGAIN = 1 << 6;
    }
}

impl Ready {
    pub(super) fn of(event: &mio::event::Event) -> Ready {
        let mut ready = Ready::empty();
        ready.set(Ready::READABLE, event.is_readable());
        ready.set(Ready::WRITABLE, event.is_writable());
        ready.set(Ready::READ_CLOSED, event.is_read_closed());
        ready.set(Ready::WRITE_CLOSED, event.is_write_closed());
        ready.set(Ready::ERROR, event.is_error());
        ready
    }
}

/// The worker, as its handler sees it.
#[derive(Debug)]
pub struct Ctx {
    registry: mio::Registry,
    kicks: HashMap<Token, Arc<Doorbell>>,
    pub(super) timers: Timers,
    again: VecDeque<Token>,
    stopping: Arc<AtomicBool>,
}

impl Ctx {
    pub(super) fn new(registry: mio::Registry, stopping: Arc<AtomicBool>) -> Self {
        let (kicks, timers, again) = Default::default();
        Ctx { registry, kicks, timers, again, stopping }
    }

    /// Watches a doorbell. A kick from before counts; it is drained before the handler hears of it.
    pub fn add_kick(&mut self, kick: &Arc<Doorbell>, token: Token) -> io::Result<()> {
        self.register(&**kick, token, Interest::READABLE)?;
        self.kicks.insert(token, Arc::clone(kick));
        Ok(())
    }

    /// Watches any file for `interest`, edge-triggered. If it is ready already, the event comes at once.
    /// The file must stay open until [`Ctx::deregister`].
    pub fn register(&self, fd: &impl AsRawFd, token: Token, interest: Interest) -> io::Result<()> {
        if token == STOP {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.registry.register(&mut SourceFd(&raw_fd(fd)), token, interest)
    }

    /// Changes what a file is watched for. If it is ready for that now, the event comes (again).
    pub fn reregister(&self, fd: &impl AsRawFd, token: Token, interest: Interest) -> io::Result<()> {
        if token == STOP {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.registry.reregister(&mut SourceFd(&raw_fd(fd)), token, interest)
    }

    /// Watches a file no longer. An event of it may already be on its way to the handler: tokens of
    /// things that come and go need an instance number, or the handler must bear a spurious event.
    pub fn deregister(&self, fd: &impl AsRawFd) -> io::Result<()> {
        self.registry.deregister(&mut SourceFd(&raw_fd(fd)))
    }

    /// Calls the handler again with `token` and [`Ready::AGAIN`], after other events had their turn.
    /// For a handler that stops before it is done, so that one source cannot starve the others.
    pub fn again(&mut self, token: Token) {
        if !self.again.contains(&token) {
            self.again.push_back(token);
        }
    }

    /// Calls [`super::Handler::timer`] with `key` when `deadline` has come, by itself. Replaces an earlier deadline
    /// of the same key.
    pub fn set_timer(&mut self, key: u64, deadline: Instant) {
        self.timers.set(key, deadline);
    }

    /// Forgets a deadline; says whether there was one.
    pub fn cancel_timer(&mut self, key: u64) -> bool {
        self.timers.cancel(key)
    }

    /// Whether the worker was told to stop: for a handler in a long loop.
    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Drains the doorbell behind `token`, if it is one.
    pub(super) fn drain(&self, token: Token) -> bool {
        let Some(kick) = self.kicks.get(&token) else { return false };
        // Empty (a spurious event) or not, the handler looks at the ring anyway.
        kick.drain();
        true
    }

    /// Those who asked to be called again up to now.
    pub(super) fn take_again(&mut self) -> VecDeque<Token> {
        std::mem::take(&mut self.again)
    }

    pub(super) fn wants_again(&self) -> bool {
        !self.again.is_empty()
    }
}

fn raw_fd(fd: &impl AsRawFd) -> RawFd {
    fd.as_raw_fd()
}
