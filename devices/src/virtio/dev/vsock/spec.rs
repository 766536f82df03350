//! The wire: virtio 1.3 §5.10, and nothing else. No logic.

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::virtio::Features;

/// Queue that carries packets to the guest (§5.10.2).
pub const RX_QUEUE: u16 = 0;
/// Queue that carries packets from the guest (§5.10.2).
pub const TX_QUEUE: u16 = 1;
/// Queue that carries events to the guest (§5.10.2).
pub const EVENT_QUEUE: u16 = 2;

/// The well-known address of the host (§5.10.4).
pub const HOST_CID: u64 = 2;
/// Addresses 0, 1 and 2 are not a guest's (§5.10.4).
pub const FIRST_GUEST_CID: u64 = 3;
/// The upper 32 bits of an address are reserved and zero; all ones is "any" (§5.10.4).
pub const LAST_GUEST_CID: u64 = 0xffff_fffe;
/// A port number that means "any" to Linux: nobody listens there.
pub const ANY_PORT: u32 = u32::MAX;

/// Feature bit: stream sockets (§5.10.3).
pub const FEATURE_STREAM: Features = Features::from_bits_retain(1 << 0);
/// Feature bit: sockets that keep message boundaries (§5.10.3).
pub const FEATURE_SEQPACKET: Features = Features::from_bits_retain(1 << 1);
/// Feature bit: SEQPACKET without STREAM does not imply STREAM (§5.10.3).
pub const FEATURE_NO_IMPLIED_STREAM: Features = Features::from_bits_retain(1 << 2);

bitflags! {
    /// Flags of a [`Operation::SHUTDOWN`] packet (§5.10.6.5). Permanent once sent.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Shutdown: u32 {
        /// The sender will receive no more data.
        const RECEIVE = 1 << 0;
        /// The sender will send no more data.
        const SEND = 1 << 1;
    }
}

bitflags! {
    /// Flags of a [`Operation::RW`] packet of a SEQPACKET connection (§5.10.6.6.1).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Message: u32 {
        /// The packet ends a message.
        const EOM = 1 << 0;
        /// The message ends a record (MSG_EOR).
        const EOR = 1 << 1;
    }
}

/// Socket type of a packet (§5.10.6). Open: the guest may send any value.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct SocketType(pub U16);

impl SocketType {
    /// A stream of bytes.
    pub const STREAM: Self = SocketType(U16::new(1));
    /// A sequence of messages.
    pub const SEQPACKET: Self = SocketType(U16::new(2));
}

/// What a packet asks for (§5.10.6). Open: the guest may send any value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
pub struct Operation(pub U16);

impl Operation {
    /// Open a connection.
    pub const REQUEST: Self = Operation(U16::new(1));
    /// Accept a connection.
    pub const RESPONSE: Self = Operation(U16::new(2));
    /// Refuse or end a connection.
    pub const RST: Self = Operation(U16::new(3));
    /// Say that one or both directions are done with.
    pub const SHUTDOWN: Self = Operation(U16::new(4));
    /// Carry data.
    pub const RW: Self = Operation(U16::new(5));
    /// Tell the sender's credit.
    pub const CREDIT_UPDATE: Self = Operation(U16::new(6));
    /// Ask for the receiver's credit.
    pub const CREDIT_REQUEST: Self = Operation(U16::new(7));
}

/// What every packet begins with (§5.10.6, `struct virtio_vsock_hdr`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Address of the sender.
    pub src_cid: U64,
    /// Address of the receiver.
    pub dst_cid: U64,
    /// Port of the sender.
    pub src_port: U32,
    /// Port of the receiver.
    pub dst_port: U32,
    /// Bytes of data that follow.
    pub len: U32,
    /// Kind of socket.
    pub socket_type: SocketType,
    /// What is asked for.
    pub op: Operation,
    /// Meaning depends upon `op`: [`Shutdown`] or [`Message`].
    pub flags: U32,
    /// How many bytes the sender has room for, in all (§5.10.6.3).
    pub buf_alloc: U32,
    /// How many bytes the sender has passed on, ever, modulo 2^32 (§5.10.6.3).
    pub fwd_cnt: U32,
}

/// Bytes of a [`Header`].
pub const HEADER_SIZE: usize = 44;
const _: () = assert!(size_of::<Header>() == HEADER_SIZE);

/// An entry of the event queue (§5.10.6.7, `struct virtio_vsock_event`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Event {
    /// What happened.
    pub id: U32,
}

impl Event {
    /// Communication was interrupted: the guest is to drop every connection and read its address again.
    pub const TRANSPORT_RESET: Self = Event { id: U32::new(0) };
}

/// Device configuration (§5.10.4, `struct virtio_vsock_config`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Config {
    /// The guest's address.
    pub guest_cid: U64,
}
