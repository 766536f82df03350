//! One connected host socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use cloister_coco::memory::SharedMemory;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};

use super::bounce::Bounce;
use super::hybrid::{self, Refusal};
use super::vectored;
use crate::virtio::queue::{Reader, Writer};

/// Bytes copied at a time on the way into a bounce buffer.
const COPY: usize = 4096;

/// What came of giving bytes to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The host took so many; the rest waits.
    Took(usize),
    /// The host reads no more.
    HungUp,
    /// The guest's memory cannot be read, or there is none of ours to keep the bytes in.
    Lost,
}

/// What came of asking the host for bytes.
#[derive(Debug)]
pub(crate) enum Received {
    /// So many.
    Bytes(usize),
    /// None for now.
    Nothing,
    /// None ever again.
    End,
    /// The socket failed.
    Failed,
    /// The guest's memory cannot be written. Nothing was read.
    Memory,
}

/// A stream socket, connected to a program on the host, and what waits to be written to it.
#[derive(Debug)]
pub(crate) struct HostSocket {
    fd: OwnedFd,
    bounce: Bounce,
    /// A client whose CONNECT has not been answered.
    unanswered: bool,
}

impl HostSocket {
    /// A connected, non-blocking socket, for which at most `limit` bytes may wait.
    pub(crate) fn new(fd: OwnedFd, limit: u32, unanswered: bool) -> Self {
        HostSocket { fd, bounce: Bounce::new(limit as usize), unanswered }
    }

    /// Whether it is a client that waits for the answer to its CONNECT.
    pub(crate) fn unanswered(&self) -> bool {
        self.unanswered
    }

    /// Answers the client's CONNECT with yes.
    pub(crate) fn accept(&mut self, host_port: u32) -> io::Result<()> {
        self.unanswered = false;
        send_line(&self.fd, &hybrid::ok(host_port))
    }

    /// Answers the client's CONNECT with no.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        refuse(&self.fd, refusal);
    }

    /// Gives the host the next `len` bytes of `from`, what it does not take is kept.
    pub(crate) fn send(&mut self, from: &mut Reader<'_>, len: usize, mem: &SharedMemory) -> Sent {
        let mut took = 0usize;
        while self.bounce.is_empty() && took < len {
            let segments = from.segments(len.saturating_sub(took));
            match mem.with_slices(&segments, |slices| vectored::send(self.fd.as_fd(), slices)) {
                Ok(Ok(n)) => took = took.saturating_add(from.skip(n)),
                Ok(Err(e)) if e.kind() == io::ErrorKind::WouldBlock => break,
                Ok(Err(_)) => return Sent::HungUp,
                Err(_) => return Sent::Lost,
            }
        }
        match self.keep(from, len.saturating_sub(took)) {
            true => Sent::Took(took),
            false => Sent::Lost,
        }
    }

    /// Copies bytes that the host did not take. False if they are lost.
    fn keep(&mut self, from: &mut Reader<'_>, len: usize) -> bool {
        if len == 0 {
            return true;
        }
        if !matches!(self.bounce.reserve(len), Ok(true)) {
            return false;
        }
        let mut chunk = [0; COPY];
        let mut left = len;
        while left > 0 {
            let Some(chunk) = chunk.get_mut(..left.min(COPY)) else { return false };
            if from.read_exact(chunk).is_err() {
                return false;
            }
            self.bounce.push(chunk);
            left = left.saturating_sub(chunk.len());
        }
        true
    }

    /// Writes what waits; how much the host took of it.
    pub(crate) fn flush(&mut self) -> Sent {
        let mut took = 0usize;
        while !self.bounce.is_empty() {
            match rustix::net::send(&self.fd, self.bounce.front(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
            {
                Ok(n) => {
                    self.bounce.took(n);
                    took = took.saturating_add(n);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return Sent::HungUp,
            }
        }
        Sent::Took(took)
    }

    /// Throws away what waits.
    pub(crate) fn discard(&mut self) {
        self.bounce.discard();
    }

    /// Reads at most `max` bytes into the guest's memory.
    pub(crate) fn receive(&self, into: &Writer<'_>, max: usize, mem: &SharedMemory) -> Received {
        let segments = into.segments(max);
        match mem.with_slices(&segments, |slices| vectored::receive(self.fd.as_fd(), slices)) {
            Ok(Ok(0)) => Received::End,
            Ok(Ok(n)) => Received::Bytes(n),
            Ok(Err(e)) if e.kind() == io::ErrorKind::WouldBlock => Received::Nothing,
            Ok(Err(_)) => Received::Failed,
            Err(_) => Received::Memory,
        }
    }

    /// The host shall read the end of the stream.
    pub(crate) fn shutdown_write(&self) {
        // It fails only where the other end is gone, which the socket says by itself.
        let _ = rustix::net::shutdown(&self.fd, Shutdown::Write);
    }

    /// The host's writes shall fail.
    pub(crate) fn shutdown_read(&self) {
        let _ = rustix::net::shutdown(&self.fd, Shutdown::Read);
    }

    /// Bytes of memory held for what waits.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.bounce.capacity()
    }
}

impl AsRawFd for HostSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Tells a client that it gets no connection. The socket is to be closed then.
pub(crate) fn refuse(fd: &OwnedFd, refusal: Refusal) {
    // What the client sent is read, or the close would tell it of an error before it saw the answer.
    let mut sink = [0; COPY];
    for _ in 0..4 {
        if !matches!(rustix::net::recv(fd, &mut sink, RecvFlags::DONTWAIT), Ok((n, _)) if n > 0) {
            break;
        }
    }
    let _ = send_line(fd, &hybrid::err(refusal)); // A client that went away needs no answer.
}

/// Lines go into an empty socket buffer: they fit, or the client is not worth it.
fn send_line(fd: &OwnedFd, line: &str) -> io::Result<()> {
    let n = rustix::net::send(fd, line.as_bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
    if n == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}
