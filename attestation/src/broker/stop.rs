//! Telling threads that wait for guests to stop waiting.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

/// A switch that goes one way. Clones are the same switch.
#[derive(Debug, Clone)]
pub struct Stop {
    fd: Arc<OwnedFd>,
}

impl Stop {
    /// A switch that is not thrown.
    pub fn new() -> io::Result<Self> {
        Ok(Self { fd: Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?) })
    }

    /// Throws it. Nobody reads the event, so it stays readable for everyone who polls.
    pub fn stop(&self) {
        // It fails only when the counter is full, and then it is readable already.
        let _ = rustix::io::write(&*self.fd, &1u64.to_ne_bytes());
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
