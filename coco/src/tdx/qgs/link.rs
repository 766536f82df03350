//! A stream to the quote service that never blocks longer than it may.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::QuoteServiceAddress;
use super::vsock::VsockAddr;

/// Time between two attempts at a service that has no room for a connection yet.
const PAUSE: Duration = Duration::from_millis(20);

/// A connected stream; every wait on it ends at the deadline, or when `end` becomes readable.
pub(super) struct Link<'a> {
    stream: OwnedFd,
    deadline: Option<Instant>,
    end: BorrowedFd<'a>,
}

impl<'a> Link<'a> {
    pub(super) fn connect(
        address: &QuoteServiceAddress,
        deadline: Option<Instant>,
        end: BorrowedFd<'a>,
    ) -> io::Result<Self> {
        let family = match address {
            QuoteServiceAddress::Unix(_) => AddressFamily::UNIX,
            QuoteServiceAddress::Vsock { .. } => AddressFamily::VSOCK,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let stream = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        let link = Link { stream, deadline, end };
        loop {
            let connected = match address {
                QuoteServiceAddress::Unix(path) => {
                    rustix::net::connect(&link.stream, &SocketAddrUnix::new(path)?)
                }
                &QuoteServiceAddress::Vsock { cid, port } => {
                    rustix::net::connect(&link.stream, &VsockAddr { cid, port })
                }
            };
            match connected {
                Ok(()) => return Ok(link),
                Err(Errno::INPROGRESS) => {
                    link.wait(PollFlags::OUT)?;
                    sockopt::socket_error(&link.stream)??;
                    return Ok(link);
                }
                // A Unix socket whose queue is full (many guests ask at once): no event says when it is not.
                Err(Errno::AGAIN) => link.pause()?,
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Waits a moment, unless the deadline or the end comes first.
    fn pause(&self) -> io::Result<()> {
        let left = self.deadline.map_or(PAUSE, |at| at.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let timeout = Timespec::try_from(left.min(PAUSE)).map_err(io::Error::other)?;
        let mut end = [PollFd::from_borrowed_fd(self.end, PollFlags::IN)];
        match poll(&mut end, Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => Ok(()),
            Ok(_) => Err(called_off()),
            Err(e) => Err(e.into()),
        }
    }

    /// Waits until the stream is ready for `what` (or broken, which the next call on it will tell).
    fn wait(&self, what: PollFlags) -> io::Result<()> {
        loop {
            let left = self.deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let timeout = left.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
            let mut fds = [
                PollFd::from_borrowed_fd(self.stream.as_fd(), what),
                PollFd::from_borrowed_fd(self.end, PollFlags::IN),
            ];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(e) => return Err(e.into()),
            }
            let [stream, end] = fds;
            if !end.revents().is_empty() {
                return Err(called_off());
            }
            if !stream.revents().is_empty() {
                return Ok(());
            }
        }
    }

    fn retry<R>(&self, what: PollFlags, mut io: impl FnMut() -> rustix::io::Result<R>) -> io::Result<R> {
        loop {
            // First the wait: a peer that never runs dry must not keep us beyond the deadline either.
            self.wait(what)?;
            match io() {
                Err(Errno::AGAIN | Errno::INTR) => {}
                done => return done.map_err(Into::into),
            }
        }
    }
}

fn called_off() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the guest is being taken down")
}

impl Read for Link<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.retry(PollFlags::IN, || rustix::io::read(&self.stream, &mut *buf))
    }
}

impl Write for Link<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // A peer that is gone is an error of this call, not a signal to the process.
        let flags = rustix::net::SendFlags::NOSIGNAL;
        self.retry(PollFlags::OUT, || rustix::net::send(&self.stream, buf, flags))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_service_with_a_full_queue_is_asked_again_until_the_deadline() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("qgs");
        let listener = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let first = UnixStream::connect(&path).unwrap();
        let address = QuoteServiceAddress::Unix(path);
        let end = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();

        let deadline = Instant::now() + Duration::from_millis(50);
        let refused = Link::connect(&address, Some(deadline), end.as_fd()).err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);

        rustix::io::write(&end, &1u64.to_ne_bytes()).unwrap();
        let refused = Link::connect(&address, None, end.as_fd()).err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionAborted);

        drop((first, rustix::net::accept(&listener).unwrap()));
        assert!(Link::connect(&address, None, end.as_fd()).is_ok());
    }
}
