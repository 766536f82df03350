//! All connections of one guest.

mod to_guest;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::action::{Action, Ended, Kinds, Limits};
use super::connection::{Connection, Verdict};
use super::resets::Resets;
use super::turns::Turns;
use super::{Instance, Pair, Timers};
use crate::limit::LogLimit;
use crate::virtio::dev::vsock::counters::Counters;
use crate::virtio::dev::vsock::spec::{ANY_PORT, HOST_CID, Header, Operation, SocketType};

/// The first of the ports that host clients are given; below are those that services have.
const FIRST_CLIENT_PORT: u32 = 1 << 30;

/// Why a host client gets no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoConnection {
    /// There are as many as there may be.
    Full,
    /// The driver did not negotiate this kind of socket.
    Kind,
}

/// Every connection, what each owes the guest, and when each wants to be looked at.
#[derive(Debug)]
pub struct Table {
    guest_cid: u64,
    limits: Limits,
    kinds: Kinds,
    connections: HashMap<Instance, Connection>,
    by_pair: HashMap<Pair, Instance>,
    resets: Resets,
    turns: Turns,
    timers: Timers<Instance>,
    next_instance: u64,
    next_port: u32,
    #[cfg(test)]
    count_from: u32,
    counters: Arc<Counters>,
    log: LogLimit,
}

impl Table {
    /// No connections yet, for the guest at `guest_cid`.
    pub fn new(guest_cid: u64, limits: Limits, counters: Arc<Counters>) -> Self {
        Table {
            guest_cid,
            limits,
            kinds: Kinds::STREAM,
            connections: HashMap::new(),
            by_pair: HashMap::new(),
            resets: Resets::default(),
            turns: Turns::default(),
            timers: Timers::new(),
            next_instance: 0,
            next_port: FIRST_CLIENT_PORT,
            #[cfg(test)]
            count_from: 0,
            counters,
            log: LogLimit::default(),
        }
    }

    /// Forgets everything, as after a reset of the device; sockets are the worker's to close.
    ///
    /// Instance numbers go on where they were. `kinds`: what was negotiated.
    pub fn restart(&mut self, kinds: Kinds) {
        self.kinds = kinds;
        self.connections.clear();
        self.by_pair.clear();
        self.resets.clear();
        self.turns.clear();
        self.timers.clear();
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// A packet from the guest. `clients`: host clients that count as connections, but are none yet.
    pub fn packet(&mut self, header: &Header, clients: usize, now: Instant, out: &mut Vec<Action>) {
        if header.src_cid.get() != self.guest_cid {
            self.counters.wrong_source.one();
            return self.complain("a packet with a source address that is not the guest's", header);
        }
        if header.dst_cid.get() != HOST_CID {
            self.counters.wrong_destination.one();
            return self.complain("a packet to an address that is not the host's", header);
        }
        let pair = Pair { guest: header.src_port.get(), host: header.dst_port.get() };
        if !self.kinds.has(header.socket_type) {
            self.counters.unknown_type.one();
            self.complain("a packet of a socket type that is not offered", header);
            return self.stray(pair, header);
        }
        let instance = self.by_pair.get(&pair).copied();
        if header.op == Operation::REQUEST {
            return self.guest_request(pair, instance, header, clients, now, out);
        }
        let same_type = |c: &&mut Connection| c.socket_type == header.socket_type;
        let Some(connection) = instance.and_then(|i| self.connections.get_mut(&i)).filter(same_type) else {
            self.counters.no_connection.one();
            return self.stray(pair, header);
        };
        let instance = connection.instance;
        match connection.packet(header, &self.limits, now, out) {
            Verdict::Fine => {}
            Verdict::Refused => self.counters.guest_refused.one(),
            Verdict::UnknownOperation => {
                self.counters.unknown_operation.one();
                self.complain("a packet with an unknown operation", header);
            }
            Verdict::OverCredit => {
                self.counters.credit_violations.one();
                self.complain("more data than the guest had credit for", header);
            }
            Verdict::BrokeProtocol => {
                self.counters.protocol_errors.one();
                self.complain("a packet that has no business in the connection's state", header);
            }
        }
        self.settle(instance);
    }

    fn guest_request(
        &mut self,
        pair: Pair,
        old: Option<Instance>,
        header: &Header,
        clients: usize,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        self.counters.guest_requests.one();
        // The guest has forgotten whatever was on this pair: an RST still owed for it would hit the new
        // connection, and the old one has nobody left to talk to.
        self.resets.cancel(pair);
        if let Some(old) = old {
            if let Some(connection) = self.connections.get_mut(&old) {
                connection.end(false, Ended::Reset, out);
            }
            self.settle(old);
        }
        if !self.has_room(clients) {
            self.counters.over_limit.one();
            return self.stray(pair, header);
        }
        let instance = self.new_instance();
        let connection = Connection::from_guest(instance, pair, header, &self.limits, now);
        self.insert(connection);
        out.push(Action::Connect { instance, port: pair.host, socket_type: header.socket_type });
        self.settle(instance);
    }

    /// A host client wants the guest's `port`; `deadline` is when it gives up.
    ///
    /// `clients`: the other host clients that count as connections, but are none yet.
    pub fn host_request(
        &mut self,
        port: u32,
        socket_type: SocketType,
        clients: usize,
        deadline: Option<Instant>,
    ) -> Result<Instance, NoConnection> {
        self.counters.host_requests.one();
        if !self.kinds.has(socket_type) {
            return Err(NoConnection::Kind);
        }
        if !self.has_room(clients) {
            self.counters.over_limit.one();
            return Err(NoConnection::Full);
        }
        let pair = self.free_pair(port).ok_or(NoConnection::Full)?;
        self.resets.cancel(pair);
        let instance = self.new_instance();
        self.insert(Connection::from_host(instance, pair, socket_type, &self.limits, deadline));
        self.settle(instance);
        Ok(instance)
    }

    /// Makes the counters of new connections begin at `count`, for tests of what is rare.
    #[cfg(test)]
    pub(in super::super) fn count_from(&mut self, count: u32) {
        self.count_from = count;
    }

    fn has_room(&self, clients: usize) -> bool {
        self.connections.len().saturating_add(clients) < self.limits.connections
    }

    /// A port of ours that is not in use with the guest's `port`. Of as many ports as there are
    /// connections and one more, one is free.
    fn free_pair(&mut self, port: u32) -> Option<Pair> {
        (0..=self.connections.len()).find_map(|_| {
            let pair = Pair { guest: port, host: self.next_port };
            self.next_port = match self.next_port.wrapping_add(1) {
                ANY_PORT => FIRST_CLIENT_PORT,
                next => next,
            };
            (!self.by_pair.contains_key(&pair)).then_some(pair)
        })
    }

    fn new_instance(&mut self) -> Instance {
        self.next_instance = self.next_instance.wrapping_add(1);
        Instance(self.next_instance)
    }

    #[cfg_attr(not(test), expect(unused_mut, reason = "tests let counters begin elsewhere"))]
    fn insert(&mut self, mut connection: Connection) {
        #[cfg(test)]
        connection.count_from(self.count_from);
        self.by_pair.insert(connection.pair, connection.instance);
        self.connections.insert(connection.instance, connection);
    }

    /// Owes the guest an RST for a packet that belongs to no connection, unless it is one itself.
    fn stray(&mut self, pair: Pair, header: &Header) {
        if header.op != Operation::RST && !self.resets.push(pair, header.socket_type) {
            self.counters.resets_dropped.one();
        }
    }

    fn complain(&self, what: &str, header: &Header) {
        if let Some(kept_back) = self.log.allow() {
            let (op, socket_type) = (header.op.0.get(), header.socket_type.0.get());
            tracing::warn!(op, socket_type, kept_back, "vsock: the guest sent {what}");
        }
    }

    /// The guest sent a packet whose data cannot be read: the connection ends, if there is one.
    pub fn unreadable(&mut self, instance: Instance, out: &mut Vec<Action>) {
        self.counters.protocol_errors.one();
        self.with(instance, |c| c.end(true, Ended::Protocol, out));
    }

    /// The host's listener took the connection.
    pub fn host_connected(&mut self, instance: Instance) {
        self.with(instance, Connection::connected);
    }

    /// Nobody on the host takes the connection.
    pub fn host_refused(&mut self, instance: Instance, out: &mut Vec<Action>) {
        self.counters.host_refused.one();
        self.with(instance, |c| c.end(true, Ended::Host, out));
    }

    /// The host's socket may have data for the guest, or has none for now.
    pub fn set_readable(&mut self, instance: Instance, readable: bool) {
        self.with(instance, |c| c.set_readable(readable));
    }

    /// The host's socket took `len` bytes.
    pub fn forwarded(&mut self, instance: Instance, len: u32, out: &mut Vec<Action>) {
        self.with(instance, |c| c.forwarded(len, out));
    }

    /// The host sends no more, and everything that it sent has been given to the guest.
    pub fn host_eof(&mut self, instance: Instance) {
        self.with(instance, Connection::host_eof);
    }

    /// The host reads no more.
    pub fn host_hung_up(&mut self, instance: Instance, out: &mut Vec<Action>) {
        self.with(instance, |c| c.host_hung_up(out));
    }

    /// The host's socket failed.
    pub fn host_failed(&mut self, instance: Instance, out: &mut Vec<Action>) {
        self.counters.host_errors.one();
        self.with(instance, |c| c.end(true, Ended::Host, out));
    }

    /// A host client that waits for the guest's answer went away.
    pub fn client_gone(&mut self, instance: Instance, out: &mut Vec<Action>) {
        self.with(instance, |c| c.end(true, Ended::Host, out));
    }

    /// When [`Table::expire`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Ends what has run out of time.
    pub fn expire(&mut self, now: Instant, out: &mut Vec<Action>) {
        while let Some(instance) = self.timers.pop(now) {
            let over = self.connections.get_mut(&instance).is_some_and(|c| c.expire(now, out));
            if over {
                self.counters.timeouts.one();
            }
            self.settle(instance);
        }
    }

    fn with(&mut self, instance: Instance, f: impl FnOnce(&mut Connection)) {
        if let Some(connection) = self.connections.get_mut(&instance) {
            f(connection);
            self.settle(instance);
        }
    }

    /// After every event: credit, turn, timer, and whether there is anything left of it.
    fn settle(&mut self, instance: Instance) {
        let Some(connection) = self.connections.get_mut(&instance) else { return };
        connection.balance();
        let gone = connection.is_gone();
        let wants = connection.control().is_some() || connection.data_room().is_some();
        self.turns.set(instance, &mut connection.turn, wants && !gone);
        self.timers.set(instance, connection.next_deadline().filter(|_| !gone));
        if gone {
            let pair = connection.pair;
            self.connections.remove(&instance);
            if self.by_pair.get(&pair) == Some(&instance) {
                self.by_pair.remove(&pair);
            }
        }
    }

    /// Panics unless the indexes agree with the connections, and all is within bounds.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        assert!(self.connections.len() <= self.limits.connections);
        assert_eq!(self.by_pair.len(), self.connections.len());
        assert!(self.resets.len() <= super::resets::MAX_RESETS);
        let mut turns = 0;
        for (instance, c) in &self.connections {
            assert_eq!((c.instance, self.by_pair.get(&c.pair)), (*instance, Some(instance)));
            assert!(!c.is_gone());
            turns += usize::from(c.turn.is_some());
            assert_eq!(c.turn.is_some(), c.control().is_some() || c.data_room().is_some());
        }
        assert_eq!(self.turns.len(), turns);
    }
}
