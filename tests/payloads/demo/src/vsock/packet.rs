//! Packet headers, 44 bytes, little-endian (virtio 1.3, 5.10.6).

/// Bytes of a header.
pub const HEADER_LEN: usize = 44;
/// The host's context id.
pub const HOST_CID: u64 = 2;
/// Type of a stream's packets.
pub const TYPE_STREAM: u16 = 1;

/// What a packet does. Open: the host may send anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation(pub u16);

impl Operation {
    /// Asks for a connection.
    pub const REQUEST: Self = Self(1);
    /// Accepts one.
    pub const RESPONSE: Self = Self(2);
    /// Ends one, or refuses it.
    pub const RESET: Self = Self(3);
    /// Says that the sender will not receive (flag 1) or send (flag 2) any more.
    pub const SHUTDOWN: Self = Self(4);
    /// Carries data.
    pub const DATA: Self = Self(5);
    /// Tells the sender's credit.
    pub const CREDIT_UPDATE: Self = Self(6);
    /// Asks for a credit update.
    pub const CREDIT_REQUEST: Self = Self(7);
}

/// SHUTDOWN: the sender receives no more.
pub const SHUTDOWN_RECEIVE: u32 = 1;
/// SHUTDOWN: the sender sends no more.
pub const SHUTDOWN_SEND: u32 = 2;

/// A header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Context id of the sender.
    pub source_cid: u64,
    /// Context id of the receiver.
    pub destination_cid: u64,
    /// Port of the sender.
    pub source_port: u32,
    /// Port of the receiver.
    pub destination_port: u32,
    /// Bytes of data that follow.
    pub len: u32,
    /// Type of socket.
    pub kind: u16,
    /// What it does.
    pub operation: Operation,
    /// Flags of the operation.
    pub flags: u32,
    /// Bytes that the sender buffers for the connection.
    pub buffer: u32,
    /// Bytes that the sender's side has consumed so far.
    pub consumed: u32,
}

impl Header {
    /// Reads a header.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Self {
        let mut rest = &bytes[..];
        Header {
            source_cid: u64::from_le_bytes(take(&mut rest)),
            destination_cid: u64::from_le_bytes(take(&mut rest)),
            source_port: u32::from_le_bytes(take(&mut rest)),
            destination_port: u32::from_le_bytes(take(&mut rest)),
            len: u32::from_le_bytes(take(&mut rest)),
            kind: u16::from_le_bytes(take(&mut rest)),
            operation: Operation(u16::from_le_bytes(take(&mut rest))),
            flags: u32::from_le_bytes(take(&mut rest)),
            buffer: u32::from_le_bytes(take(&mut rest)),
            consumed: u32::from_le_bytes(take(&mut rest)),
        }
    }

    /// Writes a header.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let fields = self.source_cid.to_le_bytes().into_iter().chain(self.destination_cid.to_le_bytes());
        let fields = fields.chain(self.source_port.to_le_bytes()).chain(self.destination_port.to_le_bytes());
        let fields = fields.chain(self.len.to_le_bytes()).chain(self.kind.to_le_bytes());
        let fields = fields.chain(self.operation.0.to_le_bytes()).chain(self.flags.to_le_bytes());
        let fields = fields.chain(self.buffer.to_le_bytes()).chain(self.consumed.to_le_bytes());
        let mut bytes = [0; HEADER_LEN];
        bytes.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        bytes
    }
}

/// The next `N` bytes; the fixed layout never runs past the end.
fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let Some((field, rest)) = bytes.split_first_chunk::<N>() else { return [0; N] };
    *bytes = rest;
    *field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_wire() {
        let bytes: [u8; HEADER_LEN] = core::array::from_fn(|i| i as u8);
        let header = Header::parse(&bytes);
        assert_eq!((header.source_port, header.len), (0x1312_1110, 0x1b1a_1918));
        assert_eq!((header.operation, header.consumed), (Operation(0x1f1e), 0x2b2a_2928));
        assert_eq!(header.to_bytes(), bytes);
    }
}
