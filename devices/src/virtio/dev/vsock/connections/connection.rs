//! One connection.

mod owed;

use std::time::{Duration, Instant};

use bitflags::bitflags;

use super::action::{Action, Ended, Limits};
use super::credit::{Inbound, Outbound};
use super::{Instance, Pair, after};
use crate::virtio::dev::vsock::spec::{Header, Message, Operation, Shutdown, SocketType};

bitflags! {
    /// What the guest is to hear. A set, never a queue: it cannot grow.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    struct Owed: u8 {
        const REQUEST = 1 << 0;
        const RESPONSE = 1 << 1;
        const CREDIT_UPDATE = 1 << 2;
        const CREDIT_REQUEST = 1 << 3;
        const SHUTDOWN = 1 << 4;
        const RESET = 1 << 5;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The guest asked; the host's socket is not connected yet.
    Connecting,
    /// A host client asked; the guest has not answered yet.
    Requested,
    /// Both sides have said yes.
    Open,
    /// Over. Stays in the table for as long as an RST is owed.
    Over,
}

/// What a packet was, as far as counters are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    UnknownOperation,
    OverCredit,
    BrokeProtocol,
    Refused,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) instance: Instance,
    pub(super) pair: Pair,
    pub(super) socket_type: SocketType,
    phase: Phase,
    owed: Owed,
    inbound: Inbound,
    outbound: Outbound,
    /// What the guest said it is done with.
    guest_done: Shutdown,
    /// What the host is done with; the guest knows of it unless SHUTDOWN is owed.
    host_done: Shutdown,
    /// Whether the worker holds a socket for it.
    socket: bool,
    write_shut: bool,
    /// The guest has begun a message and not ended it (SEQPACKET).
    in_message: bool,
    /// Whether the socket may have data for the guest.
    readable: bool,
    /// Whether the guest has been asked for credit since it last had none.
    asked: bool,
    probe_wait: Duration,
    probe: Option<Instant>,
    deadline: Option<Instant>,
    /// Its place in the order of turns, while it owes the guest something.
    pub(super) turn: Option<u64>,
}

impl Connection {
    fn new(instance: Instance, pair: Pair, socket_type: SocketType, limits: &Limits, phase: Phase) -> Self {
        Connection {
            instance,
            pair,
            socket_type,
            phase,
            owed: Owed::empty(),
            inbound: Inbound::new(limits.buffer),
            outbound: Outbound::default(),
            guest_done: Shutdown::empty(),
            host_done: Shutdown::empty(),
            socket: true,
            write_shut: false,
            in_message: false,
            readable: false,
            asked: false,
            probe_wait: owed::PROBE_FIRST,
            probe: None,
            deadline: None,
            turn: None,
        }
    }

    /// One that the guest asked for with `request`.
    pub(super) fn from_guest(
        instance: Instance,
        pair: Pair,
        request: &Header,
        limits: &Limits,
        now: Instant,
    ) -> Self {
        let mut new = Connection::new(instance, pair, request.socket_type, limits, Phase::Connecting);
        new.outbound.hear(request.buf_alloc.get(), request.fwd_cnt.get());
        new.deadline = after(now, limits.response);
        new
    }

    /// One that a host client asked for.
    pub(super) fn from_host(
        instance: Instance,
        pair: Pair,
        socket_type: SocketType,
        limits: &Limits,
        deadline: Option<Instant>,
    ) -> Self {
        let mut new = Connection::new(instance, pair, socket_type, limits, Phase::Requested);
        new.owed = Owed::REQUEST;
        new.deadline = deadline;
        new
    }

    #[cfg(test)]
    pub(super) fn count_from(&mut self, count: u32) {
        self.inbound.count_from(count);
        self.outbound.count_from(count);
    }

    /// A packet of the guest's other than REQUEST.
    pub(super) fn packet(
        &mut self,
        header: &Header,
        limits: &Limits,
        now: Instant,
        out: &mut Vec<Action>,
    ) -> Verdict {
        let known = Operation::RESPONSE.0.get()..=Operation::CREDIT_REQUEST.0.get();
        if !known.contains(&header.op.0.get()) {
            return Verdict::UnknownOperation;
        }
        // Every packet carries credit (virtio 1.3 §5.10.6.3), whatever else it says.
        self.outbound.hear(header.buf_alloc.get(), header.fwd_cnt.get());
        if header.op == Operation::RST {
            let refused = self.phase == Phase::Requested;
            self.end(false, Ended::Reset, out);
            return if refused { Verdict::Refused } else { Verdict::Fine };
        }
        match self.phase {
            Phase::Over => return Verdict::Fine,
            Phase::Requested if header.op == Operation::RESPONSE && !self.owed.contains(Owed::REQUEST) => {
                self.phase = Phase::Open;
                self.deadline = None;
                self.readable = true;
                out.push(Action::Established { instance: self.instance, host_port: self.pair.host });
                return Verdict::Fine;
            }
            Phase::Open if !self.owed.contains(Owed::RESPONSE) => {}
            _ => return self.broke_protocol(out),
        }
        match header.op {
            Operation::CREDIT_UPDATE => Verdict::Fine,
            Operation::CREDIT_REQUEST => {
                self.owed.insert(Owed::CREDIT_UPDATE);
                Verdict::Fine
            }
            Operation::RW => self.data(header, out),
            Operation::SHUTDOWN => {
                let flags = Shutdown::from_bits_truncate(header.flags.get());
                if flags.contains(Shutdown::SEND) && self.in_message {
                    return self.broke_protocol(out);
                }
                self.guest_shutdown(flags, limits, now, out);
                Verdict::Fine
            }
            _ => self.broke_protocol(out),
        }
    }

    fn data(&mut self, header: &Header, out: &mut Vec<Action>) -> Verdict {
        let len = header.len.get();
        if self.guest_done.contains(Shutdown::SEND) {
            return self.broke_protocol(out);
        }
        if !self.inbound.receive(len) {
            self.end(true, Ended::Protocol, out);
            return Verdict::OverCredit;
        }
        let flags = Message::from_bits_truncate(header.flags.get());
        self.in_message = self.socket_type == SocketType::SEQPACKET && !flags.contains(Message::EOM);
        if self.socket && !self.host_done.contains(Shutdown::RECEIVE) {
            out.push(Action::Deliver { instance: self.instance, len, flags });
        } else {
            self.inbound.forward(len); // The guest has been told, or will be, that nobody reads it.
        }
        Verdict::Fine
    }

    fn guest_shutdown(&mut self, flags: Shutdown, limits: &Limits, now: Instant, out: &mut Vec<Action>) {
        let new = flags.difference(self.guest_done);
        self.guest_done.insert(flags);
        if new.contains(Shutdown::RECEIVE) {
            self.readable = false;
            if self.socket {
                out.push(Action::ShutdownRead { instance: self.instance });
            }
            if self.host_done.contains(Shutdown::RECEIVE) {
                self.host_is_done_with(Shutdown::SEND);
            }
        }
        if !new.is_empty() && self.guest_done == Shutdown::all() {
            self.no_later_than(after(now, limits.close));
        }
        self.flushed(out);
    }

    /// Acts upon the guest's shutdown once nothing is left to be written.
    fn flushed(&mut self, out: &mut Vec<Action>) {
        if self.phase != Phase::Open || self.inbound.pending() > 0 {
            return;
        }
        if self.guest_done == Shutdown::all() {
            self.end(true, Ended::Done, out);
        } else if self.guest_done.contains(Shutdown::SEND) && self.socket && !self.write_shut {
            self.write_shut = true;
            out.push(Action::ShutdownWrite { instance: self.instance });
        }
    }

    /// The host's listener took the guest's connection.
    pub(super) fn connected(&mut self) {
        if self.phase == Phase::Connecting {
            self.phase = Phase::Open;
            self.deadline = None;
            self.readable = true;
            self.owed.insert(Owed::RESPONSE);
        }
    }

    /// The socket may have data.
    pub(super) fn set_readable(&mut self, readable: bool) {
        self.readable = readable && self.may_read();
    }

    /// The host took `len` bytes.
    pub(super) fn forwarded(&mut self, len: u32, out: &mut Vec<Action>) {
        self.inbound.forward(len);
        self.flushed(out);
    }

    /// The host sends no more; all it sent has been read.
    pub(super) fn host_eof(&mut self) {
        if self.phase == Phase::Open {
            self.readable = false;
            self.host_is_done_with(Shutdown::SEND);
        }
    }

    /// The host reads no more. What it has not read is lost.
    pub(super) fn host_hung_up(&mut self, out: &mut Vec<Action>) {
        if self.phase != Phase::Open {
            return;
        }
        self.host_is_done_with(Shutdown::RECEIVE);
        if self.guest_done.contains(Shutdown::RECEIVE) {
            self.host_is_done_with(Shutdown::SEND);
        }
        self.inbound.forward(self.inbound.pending());
        self.flushed(out);
    }

    fn host_is_done_with(&mut self, what: Shutdown) {
        if !self.host_done.contains(what) {
            self.host_done.insert(what);
            self.owed.insert(Owed::SHUTDOWN);
        }
    }

    /// Ends it. `tell_guest`: with an RST, if the guest knows of the connection at all.
    pub(super) fn end(&mut self, tell_guest: bool, why: Ended, out: &mut Vec<Action>) {
        let guest_knows = self.phase != Phase::Requested || !self.owed.contains(Owed::REQUEST);
        if std::mem::take(&mut self.socket) {
            out.push(Action::Close { instance: self.instance, why });
        }
        self.phase = Phase::Over;
        self.owed = if tell_guest && guest_knows { Owed::RESET } else { Owed::empty() };
        self.readable = false;
        self.deadline = None;
        self.probe = None;
    }

    fn broke_protocol(&mut self, out: &mut Vec<Action>) -> Verdict {
        self.end(true, Ended::Protocol, out);
        Verdict::BrokeProtocol
    }

    /// Whether it can be forgotten.
    pub(super) fn is_gone(&self) -> bool {
        self.phase == Phase::Over && self.owed.is_empty()
    }

    /// The time that it wants to be called at.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        [self.deadline, self.probe].into_iter().flatten().min()
    }

    /// Its time has come. True if that ended it.
    pub(super) fn expire(&mut self, now: Instant, out: &mut Vec<Action>) -> bool {
        if self.probe.is_some_and(|at| at <= now) {
            self.probe = None;
            self.owed.insert(Owed::CREDIT_REQUEST);
        }
        let over = self.deadline.is_some_and(|at| at <= now);
        if over {
            self.end(true, Ended::Timeout, out);
        }
        over
    }

    fn may_read(&self) -> bool {
        self.phase == Phase::Open
            && self.socket
            && !self.guest_done.contains(Shutdown::RECEIVE)
            && !self.host_done.contains(Shutdown::SEND)
    }

    fn no_later_than(&mut self, at: Option<Instant>) {
        self.deadline = [self.deadline, at].into_iter().flatten().min();
    }
}
