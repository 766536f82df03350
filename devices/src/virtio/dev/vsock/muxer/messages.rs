//! What waits on a socket that keeps message boundaries, in either direction.
//!
//! An AF_UNIX socket of type SEQPACKET takes a message whole or not at all, gives it whole, and cuts off
//! what the reader has no room for. So a message from the guest is collected until its end came, and one
//! for the guest that is larger than a packet is read whole first.
//!
//! MSG_EOR has no meaning on such sockets: that a guest's message ends a record stays with the guest.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use cloister_coco::memory::SharedMemory;
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendFlags};

use super::bounce::Bounce;
use super::socket::{Received, Sent};
use super::vectored;
use crate::virtio::dev::vsock::spec::Message;
use crate::virtio::queue::{Reader, Writer};

/// Messages that may wait for the host: those without a byte cost no credit.
const MAX_MESSAGES: usize = 4096;

/// Messages on their way.
#[derive(Debug)]
pub(super) struct Messages {
    limit: usize,
    /// Bytes for the host: of whole messages, then of one whose end has not come.
    bounce: Bounce,
    /// How long each of the whole ones is.
    whole: VecDeque<usize>,
    /// How long the other one is by now.
    partial: usize,
    /// A message for the guest, and how much of it the guest has.
    staged: Vec<u8>,
    given: usize,
}

impl Messages {
    /// For a socket for which at most `limit` bytes may wait in either direction.
    pub(super) fn new(fd: &OwnedFd, limit: usize) -> Result<Self, Errno> {
        // The kernel doubles it, and takes no message that is larger.
        rustix::net::sockopt::set_socket_send_buffer_size(fd, limit)?;
        // So that an empty message can be told from the end: only a message has a sender.
        rustix::net::sockopt::set_socket_passcred(fd, true)?;
        let (whole, staged) = Default::default();
        Ok(Messages { limit, bounce: Bounce::new(limit), whole, partial: 0, staged, given: 0 })
    }

    /// Gives the host the next `len` bytes of `from`, which may end a message.
    pub(super) fn send(
        &mut self,
        fd: &OwnedFd,
        from: &mut Reader<'_>,
        len: usize,
        flags: Message,
        mem: &SharedMemory,
    ) -> Sent {
        let ends = flags.contains(Message::EOM);
        if ends && self.whole.is_empty() && self.partial == 0 {
            let segments = from.segments(len);
            match mem.with_slices(&segments, |slices| vectored::send(fd.as_fd(), slices)) {
                Ok(Ok(_)) => return Sent::Took(len),
                Ok(Err(e)) if e.kind() == io::ErrorKind::WouldBlock => {}
                Ok(Err(_)) => return Sent::HungUp,
                Err(_) => return Sent::Lost,
            }
        }
        if self.whole.len() >= MAX_MESSAGES || !self.bounce.fill(from, len) {
            return Sent::Lost;
        }
        self.partial = self.partial.saturating_add(len);
        if ends {
            self.whole.push_back(std::mem::take(&mut self.partial));
            return self.flush(fd);
        }
        // The guest has no credit left with which to end it.
        if self.partial >= self.limit { Sent::Lost } else { Sent::Took(0) }
    }

    /// Sends the whole messages that wait; how many bytes the host took.
    pub(super) fn flush(&mut self, fd: &OwnedFd) -> Sent {
        let mut took = 0usize;
        while let Some(&len) = self.whole.front() {
            let (first, second) = self.bounce.front_of(len);
            let slices = [IoSlice::new(first), IoSlice::new(second)];
            let mut none = SendAncillaryBuffer::default();
            match rustix::net::sendmsg(fd, &slices, &mut none, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(_) => {
                    self.whole.pop_front();
                    self.bounce.took(len);
                    took = took.saturating_add(len);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return Sent::HungUp,
            }
        }
        if self.whole.is_empty() {
            self.whole = VecDeque::new();
        }
        Sent::Took(took)
    }

    /// Throws away what waits for the host.
    pub(super) fn discard(&mut self) {
        self.bounce.discard();
        self.whole = VecDeque::new();
        self.partial = 0;
    }

    /// Gives the guest at most `max` bytes of one message; `longest` is the longest that it can take.
    pub(super) fn receive(
        &mut self,
        fd: &OwnedFd,
        into: &Writer<'_>,
        max: usize,
        longest: usize,
        mem: &SharedMemory,
    ) -> Received {
        if self.staged.is_empty() {
            let size = match rustix::net::recv(fd, &mut [0u8; 0], RecvFlags::PEEK | FULL_SIZE) {
                Ok((_, size)) => size,
                Err(Errno::AGAIN | Errno::INTR) => return Received::Nothing,
                Err(_) => return Received::Failed,
            };
            if size == 0 {
                return empty_or_end(fd);
            }
            if size > longest.min(self.limit) {
                return Received::Failed;
            }
            if size <= max.min(into.remaining()) {
                let segments = into.segments(size);
                return match mem.with_slices(&segments, |slices| vectored::receive(fd.as_fd(), slices)) {
                    Ok(Ok(n)) => Received::Bytes(n, Message::EOM),
                    Ok(Err(_)) => Received::Failed,
                    Err(_) => Received::Memory,
                };
            }
            if !self.stage(fd, size) {
                return Received::Failed;
            }
        }
        self.give(into, max)
    }

    /// Reads a message of `size` bytes.
    fn stage(&mut self, fd: &OwnedFd, size: usize) -> bool {
        self.given = 0;
        if self.staged.try_reserve_exact(size).is_err() {
            return false;
        }
        self.staged.resize(size, 0);
        let read = rustix::net::recv(fd, self.staged.as_mut_slice(), RecvFlags::DONTWAIT);
        matches!(read, Ok((n, _)) if n == size)
    }

    /// Gives the guest the next part of the message that was read.
    fn give(&mut self, into: &Writer<'_>, max: usize) -> Received {
        let left = self.staged.get(self.given..).unwrap_or_default();
        let n = left.len().min(max).min(into.remaining());
        let Some(part) = left.get(..n) else { return Received::Failed };
        if into.clone().write_all(part).is_err() {
            return Received::Memory;
        }
        self.given = self.given.saturating_add(n);
        if self.given < self.staged.len() {
            return Received::Bytes(n, Message::empty());
        }
        self.staged = Vec::new();
        Received::Bytes(n, Message::EOM)
    }

    /// Bytes of memory held for what waits.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.bounce.capacity() + self.whole.capacity() * size_of::<usize>() + self.staged.capacity()
    }
}

/// Asks for a message's size, not for what fits of it.
const FULL_SIZE: RecvFlags = RecvFlags::TRUNC.union(RecvFlags::DONTWAIT);

/// There are no bytes: takes an empty message, if that is what it is.
fn empty_or_end(fd: &OwnedFd) -> Received {
    let mut nowhere = [IoSliceMut::new(&mut [])];
    let mut no_room = RecvAncillaryBuffer::default();
    match rustix::net::recvmsg(fd, &mut nowhere, &mut no_room, RecvFlags::DONTWAIT) {
        // A message comes with its sender, for whom there was no room.
        Ok(message) if message.flags.contains(ReturnFlags::CTRUNC) => Received::Bytes(0, Message::EOM),
        Ok(_) => Received::End,
        Err(Errno::AGAIN | Errno::INTR) => Received::Nothing,
        Err(_) => Received::Failed,
    }
}
