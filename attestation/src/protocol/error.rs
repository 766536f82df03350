//! What can be wrong with bytes from the peer.

use core::fmt;

/// Why bytes from the peer were not accepted. Details stay on this side; the peer sees an [`ErrorClass`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The frame does not begin with "CCAT".
    BadMagic,
    /// The header's version is not 1.
    BadVersion(u8),
    /// The header's flags are not zero.
    BadFlags(u16),
    /// The frame's type is unknown, or out of order in this state.
    UnexpectedType(u8),
    /// The header announces more than this type may carry.
    TooLong {
        /// Length in the header.
        found: u32,
        /// Limit of the type.
        limit: u32,
    },
    /// A CBOR item ends after the end of its buffer.
    Truncated,
    /// Bytes follow the last item of the body.
    TrailingBytes,
    /// An integer or a length is not in its shortest form, or a length is indefinite.
    NotCanonical,
    /// An item has another type than the schema asks for.
    WrongItem,
    /// Map keys are not in ascending order, or one is there twice.
    KeyOrder,
    /// The map has a key that the schema does not know.
    UnknownKey(u64),
    /// A field that must be there is missing.
    MissingKey(u64),
    /// A string or list is longer or shorter than allowed, or a number is out of range.
    OutOfRange,
    /// Text is not UTF-8, or has a character that is not allowed.
    BadText,
    /// A public key is not a point of P-256 in uncompressed SEC1 form.
    BadKey,
    /// A signature does not verify.
    BadSignature,
    /// A sealed secret does not open.
    BadSeal,
    /// The confirmation's MAC is wrong.
    BadMac,
    /// The init data is not what [`crate::protocol::init_data()`] writes.
    BadInitData,
    /// The random source gave no usable bytes.
    Random,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadMagic => f.write_str("the frame does not begin with \"CCAT\""),
            Self::BadVersion(v) => write!(f, "protocol version {v} is not supported (1 is)"),
            Self::BadFlags(v) => write!(f, "reserved frame flags are set ({v:#06x})"),
            Self::UnexpectedType(v) => write!(f, "a frame of type {v:#04x} is not expected here"),
            Self::TooLong { found, limit } => {
                write!(f, "the frame announces {found} bytes, its type may carry {limit}")
            }
            Self::Truncated => f.write_str("the message ends too early"),
            Self::TrailingBytes => f.write_str("bytes follow the end of the message"),
            Self::NotCanonical => f.write_str("the message is not deterministic CBOR"),
            Self::WrongItem => f.write_str("a field has the wrong type"),
            Self::KeyOrder => f.write_str("map keys are not in ascending order"),
            Self::UnknownKey(k) => write!(f, "unknown field {k}"),
            Self::MissingKey(k) => write!(f, "field {k} is missing"),
            Self::OutOfRange => f.write_str("a field is out of its range"),
            Self::BadText => f.write_str("a text field has characters that are not allowed"),
            Self::BadKey => f.write_str("a public key is not a valid P-256 point"),
            Self::BadSignature => f.write_str("a signature does not verify"),
            Self::BadSeal => f.write_str("a sealed secret does not open with this session's key"),
            Self::BadMac => f.write_str("the confirmation does not belong to this session"),
            Self::BadInitData => f.write_str("the init data is not in its canonical form"),
            Self::Random => f.write_str("the random source failed"),
        }
    }
}

impl core::error::Error for ProtocolError {}

/// The one byte that the peer gets to see of a failure. Open: an unknown value is data, not an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorClass(pub u8);

impl ErrorClass {
    /// No error; only in RESULT.
    pub const OK: Self = Self(0);
    /// Too many connections or attempts; try later.
    pub const BUSY: Self = Self(1);
    /// The policy refused.
    pub const DENIED: Self = Self(2);
    /// A message could not be read.
    pub const MALFORMED: Self = Self(3);
    /// The handshake took too long, or its nonce is used up.
    pub const EXPIRED: Self = Self(4);
    /// A version, TEE or mode that this side does not serve.
    pub const UNSUPPORTED: Self = Self(5);
    /// The guest says that it has no evidence, and nothing is released without.
    pub const NO_EVIDENCE: Self = Self(6);
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OK => f.write_str("ok"),
            Self::BUSY => f.write_str("busy"),
            Self::DENIED => f.write_str("denied"),
            Self::MALFORMED => f.write_str("malformed"),
            Self::EXPIRED => f.write_str("expired"),
            Self::UNSUPPORTED => f.write_str("unsupported"),
            Self::NO_EVIDENCE => f.write_str("no evidence"),
            Self(other) => write!(f, "error class {other}"),
        }
    }
}
