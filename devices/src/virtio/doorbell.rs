//! The doorbell of a queue, which doubles as the worker's own bell.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{EventfdFlags, eventfd};

/// A non-blocking eventfd that remembers being rung until it is drained.
///
/// The kernel rings it for the guest where it is registered
/// ([`crate::notify::DoorbellRegistry`]); a write that arrives as an exit rings it by [`Doorbell::ring`].
#[derive(Debug)]
pub struct Doorbell {
    fd: OwnedFd,
}

impl Doorbell {
    /// A doorbell that has not been rung.
    pub fn new() -> io::Result<Self> {
        Ok(Doorbell { fd: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)? })
    }

    /// Rings.
    pub fn ring(&self) {
        // It can only fail by being full, after 2^64 - 2 rings that nobody heard: it is rung, then.
        let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
    }

    /// Says whether it was rung, and forgets it.
    pub fn drain(&self) -> bool {
        rustix::io::read(&self.fd, &mut [0; 8]).is_ok()
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Doorbell {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_being_rung_until_drained() {
        let bell = Doorbell::new().unwrap();
        assert!(!bell.drain());
        bell.ring();
        bell.ring();
        assert!(bell.drain());
        assert!(!bell.drain());
    }
}
