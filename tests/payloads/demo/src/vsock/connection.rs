//! One stream connection as a state machine: packets go in, what is owed to the host comes out.

use alloc::collections::VecDeque;

use super::packet::{HOST_CID, Header, Operation, SHUTDOWN_RECEIVE, SHUTDOWN_SEND, TYPE_STREAM};
use crate::error::HostError;

/// Bytes that we buffer for the application, and tell the host so.
const BUFFER: u32 = 64 << 10;
/// The host is told of room after so many bytes were consumed.
const UPDATE_AFTER: u32 = BUFFER / 4;

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Requested,
    Open,
    /// RST came.
    Ended,
}

/// What the host has to be told next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owed {
    /// A credit update.
    pub credit: bool,
    /// A RST.
    pub reset: bool,
}

/// A connection that we opened.
#[derive(Debug)]
pub struct Connection {
    cid: u64,
    local_port: u32,
    host_port: u32,
    state: State,
    received: VecDeque<u8>,
    /// Bytes that the application took, modulo 2^32, and the value that the host knows.
    consumed: u32,
    consumed_told: u32,
    sent: u32,
    host_buffer: u32,
    host_consumed: u32,
    host_sends_no_more: bool,
    host_receives_no_more: bool,
    owed: Owed,
}

impl Connection {
    /// A connection from our `local_port` to `host_port` of the host. Send [`Operation::REQUEST`] first.
    pub fn new(cid: u64, local_port: u32, host_port: u32) -> Self {
        Connection {
            cid,
            local_port,
            host_port,
            state: State::Requested,
            received: VecDeque::new(),
            consumed: 0,
            consumed_told: 0,
            sent: 0,
            host_buffer: 0,
            host_consumed: 0,
            host_sends_no_more: false,
            host_receives_no_more: false,
            owed: Owed::default(),
        }
    }

    /// Our context id.
    pub fn cid(&self) -> u64 {
        self.cid
    }

    /// A header of ours, with our credit in it.
    pub fn header(&mut self, operation: Operation, flags: u32, len: u32) -> Header {
        self.consumed_told = self.consumed;
        Header {
            source_cid: self.cid,
            destination_cid: HOST_CID,
            source_port: self.local_port,
            destination_port: self.host_port,
            len,
            kind: TYPE_STREAM,
            operation,
            flags,
            buffer: BUFFER,
            consumed: self.consumed,
        }
    }

    /// Takes a packet from the host. Packets that are not for this connection are ignored.
    pub fn on_packet(&mut self, header: &Header, data: &[u8]) -> Result<(), HostError> {
        let mine = header.source_cid == HOST_CID
            && header.destination_cid == self.cid
            && header.source_port == self.host_port
            && header.destination_port == self.local_port
            && header.kind == TYPE_STREAM;
        if !mine || self.state == State::Ended {
            return Ok(());
        }
        if !data.is_empty() && header.operation != Operation::DATA {
            return Err(HostError::Packet("data in a packet that carries none"));
        }
        if header.operation == Operation::RESET {
            self.state = State::Ended;
            return Ok(());
        }
        self.on_credit(header)?;
        match (self.state, header.operation) {
            (State::Requested, Operation::RESPONSE) => self.state = State::Open,
            (State::Requested, _) => return Err(HostError::Packet("not an answer to our request")),
            (_, Operation::DATA) => self.on_data(data)?,
            (_, Operation::SHUTDOWN) => {
                self.host_receives_no_more |= header.flags & SHUTDOWN_RECEIVE != 0;
                self.host_sends_no_more |= header.flags & SHUTDOWN_SEND != 0;
                self.owed.reset |= self.host_receives_no_more && self.host_sends_no_more;
            }
            (_, Operation::CREDIT_REQUEST) => self.owed.credit = true,
            (_, Operation::CREDIT_UPDATE) => {}
            (_, Operation::RESPONSE | Operation::REQUEST) => {
                return Err(HostError::Packet("a second beginning"));
            }
            _ => return Err(HostError::Packet("an unknown operation")),
        }
        Ok(())
    }

    fn on_credit(&mut self, header: &Header) -> Result<(), HostError> {
        let unconsumed = self.sent.wrapping_sub(header.consumed);
        if unconsumed > self.sent.wrapping_sub(self.host_consumed) {
            return Err(HostError::Packet("consumed more than was sent, or less than before"));
        }
        self.host_consumed = header.consumed;
        self.host_buffer = header.buffer;
        Ok(())
    }

    fn on_data(&mut self, data: &[u8]) -> Result<(), HostError> {
        if self.host_sends_no_more {
            return Err(HostError::Packet("data after its end"));
        }
        let room = (BUFFER as usize).saturating_sub(self.received.len());
        if data.len() > room {
            return Err(HostError::Packet("more data than its credit"));
        }
        self.received.extend(data);
        Ok(())
    }

    /// Whether the host accepted; an error if it refused.
    pub fn is_open(&self) -> Result<bool, HostError> {
        match self.state {
            State::Requested => Ok(false),
            State::Open => Ok(true),
            State::Ended => Err(HostError::Refused),
        }
    }

    /// Whether the host ended the connection.
    pub fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// How many bytes the host has room for; an error if it will not take any more.
    pub fn credit(&self) -> Result<u32, HostError> {
        if self.state != State::Open || self.host_receives_no_more {
            return Err(HostError::Closed);
        }
        Ok(self.host_buffer.saturating_sub(self.sent.wrapping_sub(self.host_consumed)))
    }

    /// Counts `len` bytes, not more than the credit, that are about to be sent.
    pub fn on_sent(&mut self, len: u32) {
        self.sent = self.sent.wrapping_add(len);
    }

    /// Moves received bytes to `to`; zero if there are none yet, an error if none will come.
    pub fn receive(&mut self, to: &mut [u8]) -> Result<usize, HostError> {
        let count = self.received.len().min(to.len());
        if count == 0 && (self.state == State::Ended || self.host_sends_no_more) {
            return Err(HostError::Closed);
        }
        to.iter_mut().zip(self.received.drain(..count)).for_each(|(to, from)| *to = from);
        self.consumed = self.consumed.wrapping_add(count as u32);
        self.owed.credit |= self.consumed.wrapping_sub(self.consumed_told) >= UPDATE_AFTER;
        Ok(count)
    }

    /// What the host has to be told now; asking clears it.
    pub fn take_owed(&mut self) -> Owed {
        let owed = core::mem::take(&mut self.owed);
        if self.state == State::Ended { Owed::default() } else { owed }
    }

    /// The connection is over for us as well.
    pub fn end(&mut self) {
        self.state = State::Ended;
    }
}

#[cfg(test)]
#[path = "connection_test.rs"]
mod tests;
