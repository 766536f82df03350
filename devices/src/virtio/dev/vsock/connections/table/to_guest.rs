//! What the guest is given: whose turn it is, and the packets.

use std::time::Instant;

use super::{Connection, Table};
use crate::virtio::dev::vsock::connections::{Action, Instance, Pair, Turn};
use crate::virtio::dev::vsock::spec::{HOST_CID, Header, Message, Operation, SocketType};

impl Table {
    /// What the next buffer of the guest's is for, if anything is owed.
    pub fn next_turn(&self) -> Option<Turn> {
        if self.resets.first().is_some() {
            return Some(Turn::Stray);
        }
        let connection = self.connections.get(&self.turns.first()?)?;
        let instance = connection.instance;
        match connection.control() {
            Some(op) => Some(Turn::Control(instance, op)),
            None => connection.data_room().map(|room| Turn::Data(instance, room)),
        }
    }

    /// The packet of a turn without data. It is not sent until [`Table::control_sent`].
    pub fn control_header(&self, turn: Turn) -> Option<Header> {
        match turn {
            Turn::Stray => {
                let (pair, socket_type) = self.resets.first()?;
                Some(self.header(pair, socket_type, Operation::RST))
            }
            Turn::Control(instance, op) => {
                let c = self.connections.get(&instance)?;
                let mut header = self.header(c.pair, c.socket_type, op);
                let (buf_alloc, fwd_cnt) = c.credit();
                header.flags = c.flags(op).into();
                (header.buf_alloc, header.fwd_cnt) = (buf_alloc.into(), fwd_cnt.into());
                Some(header)
            }
            Turn::Data(..) => None,
        }
    }

    /// The packet of [`Table::control_header`] is the guest's.
    pub fn control_sent(&mut self, turn: Turn, now: Instant, out: &mut Vec<Action>) {
        match turn {
            Turn::Stray => self.resets.sent(),
            Turn::Control(instance, op) => {
                let limits = self.limits;
                self.with(instance, |c| c.control_sent(op, &limits, now, out));
                self.end_of_turn(instance);
            }
            Turn::Data(..) => {}
        }
    }

    /// What the guest has room for in all: a message that is larger can never reach it.
    pub fn guest_buffer(&self, instance: Instance) -> u32 {
        self.connections.get(&instance).map_or(0, Connection::guest_buffer)
    }

    /// The header for `len` bytes of data of `instance`'s. It is not sent until [`Table::data_sent`].
    pub fn data_header(&self, instance: Instance, len: u32, flags: Message) -> Option<Header> {
        let c = self.connections.get(&instance)?;
        let mut header = self.header(c.pair, c.socket_type, Operation::RW);
        let (buf_alloc, fwd_cnt) = c.credit();
        header.len = len.into();
        header.flags = flags.bits().into();
        (header.buf_alloc, header.fwd_cnt) = (buf_alloc.into(), fwd_cnt.into());
        Some(header)
    }

    /// The packet of [`Table::data_header`] is the guest's.
    pub fn data_sent(&mut self, instance: Instance, len: u32) {
        self.with(instance, |c| c.data_sent(len));
        self.end_of_turn(instance);
    }

    fn header(&self, pair: Pair, socket_type: SocketType, op: Operation) -> Header {
        Header {
            src_cid: HOST_CID.into(),
            dst_cid: self.guest_cid.into(),
            src_port: pair.host.into(),
            dst_port: pair.guest.into(),
            len: 0.into(),
            socket_type,
            op,
            flags: 0.into(),
            buf_alloc: 0.into(),
            fwd_cnt: 0.into(),
        }
    }

    /// Puts a connection that had its turn behind the others.
    fn end_of_turn(&mut self, instance: Instance) {
        if let Some(connection) = self.connections.get_mut(&instance) {
            self.turns.set(instance, &mut connection.turn, false);
            self.settle(instance);
        }
    }
}
