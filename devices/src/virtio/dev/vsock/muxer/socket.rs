//! One connected host socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use cloister_coco::memory::SharedMemory;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};

use super::bounce::Bounce;
use super::hybrid::{self, Refusal};
use super::messages::Messages;
use super::vectored;
use crate::virtio::dev::vsock::spec::{Message, SocketType};
use crate::virtio::queue::{Reader, Writer};

/// Bytes of a client's that are read before it is told why it is refused.
const SINK: usize = 4096;

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
    /// So many, and whether a message ends with them.
    Bytes(usize, Message),
    /// None for now.
    Nothing,
    /// None ever again.
    End,
    /// The socket failed.
    Failed,
    /// The guest's memory cannot be written. Nothing was read.
    Memory,
}

/// A socket connected to a program on the host, and what waits to be written to it.
#[derive(Debug)]
pub(crate) struct HostSocket {
    fd: OwnedFd,
    waiting: Waiting,
    /// A client whose CONNECT has not been answered.
    unanswered: bool,
}

#[derive(Debug)]
enum Waiting {
    Stream(Bounce),
    Messages(Messages),
}

impl HostSocket {
    /// A connected, non-blocking socket, for which at most `limit` bytes may wait.
    pub(crate) fn new(fd: OwnedFd, kind: SocketType, limit: u32, unanswered: bool) -> Result<Self, Errno> {
        let limit = limit as usize;
        let waiting = match kind {
            SocketType::SEQPACKET => Waiting::Messages(Messages::new(&fd, limit)?),
            _ => Waiting::Stream(Bounce::new(limit)),
        };
        Ok(HostSocket { fd, waiting, unanswered })
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

    /// Gives the host the next `len` bytes of `from`; what it does not take is kept.
    pub(crate) fn send(
        &mut self,
        from: &mut Reader<'_>,
        len: usize,
        flags: Message,
        mem: &SharedMemory,
    ) -> Sent {
        match &mut self.waiting {
            Waiting::Messages(messages) => messages.send(&self.fd, from, len, flags, mem),
            Waiting::Stream(bounce) => {
                let mut took = 0usize;
                while bounce.is_empty() && took < len {
                    let segments = from.segments(len.saturating_sub(took));
                    match mem.with_slices(&segments, |slices| vectored::send(self.fd.as_fd(), slices)) {
                        Ok(Ok(n)) => took = took.saturating_add(from.skip(n)),
                        Ok(Err(e)) if e.kind() == io::ErrorKind::WouldBlock => break,
                        Ok(Err(_)) => return Sent::HungUp,
                        Err(_) => return Sent::Lost,
                    }
                }
                if bounce.fill(from, len.saturating_sub(took)) { Sent::Took(took) } else { Sent::Lost }
            }
        }
    }

    /// Writes what waits; how much the host took of it.
    pub(crate) fn flush(&mut self) -> Sent {
        let bounce = match &mut self.waiting {
            Waiting::Messages(messages) => return messages.flush(&self.fd),
            Waiting::Stream(bounce) => bounce,
        };
        let mut took = 0usize;
        while !bounce.is_empty() {
            match rustix::net::send(&self.fd, bounce.front(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(n) => {
                    bounce.took(n);
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
        match &mut self.waiting {
            Waiting::Stream(bounce) => bounce.discard(),
            Waiting::Messages(messages) => messages.discard(),
        }
    }

    /// Reads at most `max` bytes into the guest's memory. `longest`: the longest message that the guest
    /// has room for.
    pub(crate) fn receive(
        &mut self,
        into: &Writer<'_>,
        max: usize,
        longest: usize,
        mem: &SharedMemory,
    ) -> Received {
        if let Waiting::Messages(messages) = &mut self.waiting {
            return messages.receive(&self.fd, into, max, longest, mem);
        }
        let segments = into.segments(max);
        match mem.with_slices(&segments, |slices| vectored::receive(self.fd.as_fd(), slices)) {
            Ok(Ok(0)) => Received::End,
            Ok(Ok(n)) => Received::Bytes(n, Message::empty()),
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
        match &self.waiting {
            Waiting::Stream(bounce) => bounce.capacity(),
            Waiting::Messages(messages) => messages.held(),
        }
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
    let mut sink = [0; SINK];
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn bytes_stay_in_order_when_the_host_reads_before_the_rest_is_written() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut socket = HostSocket::new(ours.into(), SocketType::STREAM, 1 << 20, false).unwrap();
        let mem = SharedMemory::for_test(1 << 20);
        let data: Vec<u8> = (0..1u32 << 18).flat_map(u32::to_le_bytes).collect();
        mem.write(0, &data).unwrap();
        let half = 1u32 << 19;
        let no_flags = Message::empty();
        let (first, second) = ([(0, half)], [(half.into(), half)]);
        let sent = socket.send(&mut Reader::new(&mem, &first), half as usize, no_flags, &mem);
        assert!(matches!(sent, Sent::Took(n) if n > 0 && n < half as usize), "{sent:?}");
        let mut all = vec![0; 100_000];
        theirs.read_exact(&mut all).unwrap();
        // There is room in the socket now, but these bytes are not next.
        let sent = socket.send(&mut Reader::new(&mem, &second), half as usize, no_flags, &mem);
        assert_eq!(sent, Sent::Took(0));
        while all.len() < data.len() {
            assert!(matches!(socket.flush(), Sent::Took(_)));
            let mut some = vec![0; 1 << 16];
            let n = theirs.read(&mut some).unwrap();
            all.extend_from_slice(&some[..n]);
        }
        assert!(all == data);
        assert_eq!(socket.held(), 0);
    }

    #[test]
    fn messages_stay_in_order_when_the_host_reads_before_the_rest_is_written() {
        use rustix::net::{AddressFamily, SocketFlags};
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            SocketFlags::NONBLOCK,
            None,
        )
        .unwrap();
        let mut socket = HostSocket::new(ours, SocketType::SEQPACKET, 1 << 18, false).unwrap();
        let mem = SharedMemory::for_test(1 << 16);
        let len = 1usize << 15;
        let mut send = |number: u8| {
            mem.write(0, &vec![number; len]).unwrap();
            socket.send(&mut Reader::new(&mem, &[(0, len as u32)]), len, Message::EOM, &mem)
        };
        let mut sent = 0;
        while send(sent) == Sent::Took(len) {
            sent += 1;
        }
        let mut message = vec![0; len];
        let mut numbers = Vec::new();
        let mut read = |numbers: &mut Vec<u8>| {
            let got = rustix::net::recv(&theirs, message.as_mut_slice(), RecvFlags::DONTWAIT);
            numbers.push(message[0]);
            got.is_ok()
        };
        // There is room for all that waits, and for the one that comes now.
        for _ in 0..sent {
            assert!(read(&mut numbers));
        }
        assert_eq!(send(sent + 1), Sent::Took(2 * len));
        assert!(read(&mut numbers) && read(&mut numbers));
        assert!(numbers.is_sorted() && numbers.len() == usize::from(sent) + 2, "{numbers:?}");
    }
}
