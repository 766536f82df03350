//! A stream to the quote service that never blocks longer than it may.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::QuoteServiceAddress;
use super::vsock::VsockAddr;

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
        let connected = match address {
            QuoteServiceAddress::Unix(path) => rustix::net::connect(&stream, &SocketAddrUnix::new(path)?),
            &QuoteServiceAddress::Vsock { cid, port } => {
                rustix::net::connect(&stream, &VsockAddr { cid, port })
            }
        };
        let link = Link { stream, deadline, end };
        match connected {
            Ok(()) => {}
            Err(Errno::INPROGRESS) => {
                link.wait(PollFlags::OUT)?;
                sockopt::socket_error(&link.stream)??;
            }
            Err(e) => return Err(e.into()),
        }
        Ok(link)
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
                return Err(io::Error::new(
                    io::ErrorKind::ConnectionAborted,
                    "the guest is being taken down",
                ));
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
