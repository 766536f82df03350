//! Frames: a 12-byte header and a body whose length is checked before a byte of it is stored.

use alloc::vec::Vec;

use super::{ProtocolError, VERSION};

/// "CCAT".
pub const MAGIC: [u8; 4] = *b"CCAT";

/// Magic 4, version 1, type 1, flags 2 (zero), length 4; little-endian.
pub const HEADER_LEN: usize = 12;

/// A frame's type. Open: what the peer sends need not be one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameType(pub u8);

impl FrameType {
    /// Guest to broker, the first frame.
    pub const HELLO: Self = Self(1);
    /// Broker to guest.
    pub const CHALLENGE: Self = Self(2);
    /// Guest to broker.
    pub const EVIDENCE: Self = Self(3);
    /// Broker to guest.
    pub const RESULT: Self = Self(4);
    /// Guest to broker, the last frame.
    pub const CONFIRM: Self = Self(5);
    /// Either way, instead of any other frame; the connection ends after it.
    pub const ERROR: Self = Self(0x7f);

    /// Most bytes that the body of such a frame may have. None for a type we do not know.
    pub const fn limit(self) -> Option<u32> {
        Some(match self {
            Self::HELLO => 512,
            Self::CHALLENGE => 4 << 10,
            Self::EVIDENCE => 128 << 10,
            Self::RESULT => 64 << 10,
            Self::CONFIRM | Self::ERROR => 64,
            _ => return None,
        })
    }
}

/// A frame as it was on the wire: the transcript is over these bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    kind: FrameType,
    bytes: Vec<u8>,
}

impl Frame {
    /// Puts a header before `body`. Fails if the body is longer than its type may be.
    pub fn new(kind: FrameType, body: &[u8]) -> Result<Self, ProtocolError> {
        let limit = kind.limit().ok_or(ProtocolError::UnexpectedType(kind.0))?;
        let found = u32::try_from(body.len()).unwrap_or(u32::MAX);
        if found > limit {
            return Err(ProtocolError::TooLong { found, limit });
        }
        let mut bytes = Vec::with_capacity(HEADER_LEN.saturating_add(body.len()));
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[VERSION, kind.0, 0, 0]);
        bytes.extend_from_slice(&found.to_le_bytes());
        bytes.extend_from_slice(body);
        Ok(Self { kind, bytes })
    }

    /// The frame's type.
    pub fn kind(&self) -> FrameType {
        self.kind
    }

    /// Header and body.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The body alone.
    pub fn body(&self) -> &[u8] {
        self.bytes.get(HEADER_LEN..).unwrap_or_default()
    }

    /// Header and body, for sending.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Puts frames together from pieces of a stream, as they come.
///
/// It holds no more than one frame, and no more of it than has arrived.
#[derive(Debug)]
pub struct FrameReader {
    expected: &'static [FrameType],
    bytes: Vec<u8>,
    header: Option<(FrameType, usize)>,
}

impl FrameReader {
    /// A reader that accepts these types only.
    pub fn new(expected: &'static [FrameType]) -> Self {
        Self { expected, bytes: Vec::new(), header: None }
    }

    /// Sets what may come next, for a frame whose header has not been read yet.
    pub fn expect(&mut self, expected: &'static [FrameType]) {
        self.expected = expected;
    }

    /// Whether part of a frame is waiting for the rest.
    pub fn is_partial(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Takes bytes from the front of `input` and returns the frame that they complete, if they do.
    ///
    /// Whatever is left in `input` belongs to the next frame. After an error the stream has no frame
    /// boundary any more and must be closed.
    pub fn feed(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, ProtocolError> {
        let (kind, total) = match self.header {
            Some(header) => header,
            None => {
                self.fill(input, HEADER_LEN);
                let Ok(header) = <[u8; HEADER_LEN]>::try_from(self.bytes.as_slice()) else {
                    return Ok(None);
                };
                *self.header.insert(self.check(header)?)
            }
        };
        self.fill(input, total);
        if self.bytes.len() < total {
            return Ok(None);
        }
        self.header = None;
        Ok(Some(Frame { kind, bytes: core::mem::take(&mut self.bytes) }))
    }

    fn fill(&mut self, input: &mut &[u8], upto: usize) {
        let wanted = upto.saturating_sub(self.bytes.len()).min(input.len());
        if let Some((taken, rest)) = input.split_at_checked(wanted) {
            self.bytes.extend_from_slice(taken);
            *input = rest;
        }
    }

    fn check(&self, header: [u8; HEADER_LEN]) -> Result<(FrameType, usize), ProtocolError> {
        let [m0, m1, m2, m3, version, kind, f0, f1, l0, l1, l2, l3] = header;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(ProtocolError::BadMagic);
        }
        if version != VERSION {
            return Err(ProtocolError::BadVersion(version));
        }
        let kind = FrameType(kind);
        let limit = match kind.limit() {
            Some(limit) if self.expected.contains(&kind) => limit,
            _ => return Err(ProtocolError::UnexpectedType(kind.0)),
        };
        let flags = u16::from_le_bytes([f0, f1]);
        if flags != 0 {
            return Err(ProtocolError::BadFlags(flags));
        }
        let found = u32::from_le_bytes([l0, l1, l2, l3]);
        if found > limit {
            return Err(ProtocolError::TooLong { found, limit });
        }
        let too_long = ProtocolError::TooLong { found, limit };
        let total =
            usize::try_from(found).ok().and_then(|len| len.checked_add(HEADER_LEN)).ok_or(too_long)?;
        Ok((kind, total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANY: &[FrameType] = &[FrameType::HELLO, FrameType::CHALLENGE, FrameType::EVIDENCE];

    fn read(bytes: &[u8]) -> Result<Option<Frame>, ProtocolError> {
        FrameReader::new(ANY).feed(&mut &bytes[..])
    }

    fn header(f: impl FnOnce(&mut [u8; HEADER_LEN])) -> [u8; HEADER_LEN] {
        let mut bytes = [b'C', b'C', b'A', b'T', 1, 1, 0, 0, 0, 0, 0, 0];
        f(&mut bytes);
        bytes
    }

    #[test]
    fn every_header_field_is_checked() {
        assert!(read(&header(|_| ())).unwrap().is_some());
        assert_eq!(read(&header(|h| h[0] = b'c')), Err(ProtocolError::BadMagic));
        assert_eq!(read(&header(|h| h[4] = 2)), Err(ProtocolError::BadVersion(2)));
        assert_eq!(read(&header(|h| h[5] = 9)), Err(ProtocolError::UnexpectedType(9)));
        assert_eq!(read(&header(|h| h[5] = 4)), Err(ProtocolError::UnexpectedType(4)));
        assert_eq!(read(&header(|h| h[7] = 1)), Err(ProtocolError::BadFlags(0x100)));
        let long = read(&header(|h| h[8..].copy_from_slice(&513u32.to_le_bytes())));
        assert_eq!(long, Err(ProtocolError::TooLong { found: 513, limit: 512 }));
    }

    #[test]
    fn a_promised_length_reserves_nothing() {
        let mut reader = FrameReader::new(ANY);
        let bytes = header(|h| {
            h[5] = 3;
            h[8..].copy_from_slice(&(128u32 << 10).to_le_bytes());
        });
        assert_eq!(reader.feed(&mut &bytes[..]), Ok(None));
        assert!(reader.bytes.capacity() < 1024);
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_frame(body in proptest::collection::vec(any::<u8>(), 0..512), piece in 1usize..64) {
            let frame = Frame::new(FrameType::HELLO, &body).unwrap();
            let mut wire = frame.bytes().to_vec();
            wire.extend_from_slice(b"next");
            let mut reader = FrameReader::new(ANY);
            let mut got = None;
            let mut left = Vec::new();
            for chunk in wire.chunks(piece) {
                let mut chunk = chunk;
                if got.is_none() {
                    got = reader.feed(&mut chunk).unwrap();
                }
                left.extend_from_slice(chunk);
            }
            prop_assert_eq!(got.unwrap(), frame);
            prop_assert_eq!(left, b"next");
        }

        #[test]
        fn hostile_bytes_never_panic(bytes: Vec<u8>) {
            let _ = read(&bytes);
            let mut wire = header(|_| ()).to_vec();
            wire.truncate(7);
            wire.extend(bytes);
            let _ = read(&wire);
        }
    }
}
