//! What the connection table and the worker say to each other.

use std::time::Duration;

use super::Instance;
use crate::virtio::Features;
use crate::virtio::dev::vsock::spec::{
    FEATURE_NO_IMPLIED_STREAM, FEATURE_SEQPACKET, FEATURE_STREAM, Message, Operation, SocketType,
};

/// What connections are held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time, those included whose end the guest has not been told of.
    pub connections: usize,
    /// Bytes from the guest that may wait for the host, for each connection. It is what is advertised.
    pub buffer: u32,
    /// How long the other side has to accept a connection.
    pub response: Duration,
    /// How long a connection that both sides are done with may take to end.
    pub close: Duration,
}

/// Which kinds of sockets were negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds {
    stream: bool,
    seqpacket: bool,
}

impl Kinds {
    /// What there is without any feature bit.
    pub const STREAM: Kinds = Kinds { stream: true, seqpacket: false };

    /// What the feature bits say (virtio 1.3 §5.10.3.1): STREAM is implied unless they say otherwise.
    pub fn negotiated(features: Features) -> Kinds {
        let seqpacket = features.contains(FEATURE_SEQPACKET);
        let implied = !seqpacket || !features.contains(FEATURE_NO_IMPLIED_STREAM);
        Kinds { stream: implied || features.contains(FEATURE_STREAM), seqpacket }
    }

    /// Whether `kind` is among them.
    pub fn has(self, kind: SocketType) -> bool {
        match kind {
            SocketType::STREAM => self.stream,
            SocketType::SEQPACKET => self.seqpacket,
            _ => false,
        }
    }
}

/// Something to be done on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The guest wants a connection to the host's `port`.
    Connect {
        /// The new connection.
        instance: Instance,
        /// The port.
        port: u32,
        /// Which kind of socket.
        socket_type: SocketType,
    },
    /// The guest accepted the host's connection.
    Established {
        /// The connection.
        instance: Instance,
        /// The port by which the guest knows the client.
        host_port: u32,
    },
    /// The data of the packet at hand is the host's.
    Deliver {
        /// The connection.
        instance: Instance,
        /// How much of it; within the guest's credit.
        len: u32,
        /// Where messages end.
        flags: Message,
    },
    /// The guest sends no more and all it sent is written: the host shall read the end.
    ShutdownWrite {
        /// The connection.
        instance: Instance,
    },
    /// The guest reads no more: the host's writes shall fail.
    ShutdownRead {
        /// The connection.
        instance: Instance,
    },
    /// The socket is to be closed, and what waits for it forgotten.
    Close {
        /// The connection.
        instance: Instance,
        /// Why.
        why: Ended,
    },
}

/// Why the host's side of a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Both sides are done with it.
    Done,
    /// The guest did not want it, or reset it.
    Reset,
    /// The guest broke the protocol.
    Protocol,
    /// Time ran out.
    Timeout,
    /// The host's socket failed, or the device is being reset.
    Host,
}

/// What the next buffer of the guest's is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// An RST for a connection that is not there.
    Stray,
    /// A packet without data.
    Control(Instance, Operation),
    /// Data, at most so many bytes.
    Data(Instance, u32),
}
