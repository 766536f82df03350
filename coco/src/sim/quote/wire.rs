//! Messages of the quote generation service (Intel DCAP, `qgs_msg_lib`; coco.md 3.7).

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use std::mem::size_of;

use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::sim::tdx::TDREPORT_SIZE;

/// Message types.
const GET_QUOTE_REQ: u32 = 0;
const GET_QUOTE_RESP: u32 = 1;

/// The longest request that is read: header, sizes, report, and some room for a list of IDs.
pub(super) const REQUEST_MAX: usize = 4096;

/// Error codes of an answer (`qgs_msg_error_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QgsError(pub(super) u32);

impl QgsError {
    pub(super) const INVALID_PARAMETER: Self = QgsError(0x12003);
    pub(super) const INVALID_VERSION: Self = QgsError(0x12004);
    pub(super) const INVALID_TYPE: Self = QgsError(0x12005);
    pub(super) const INVALID_SIZE: Self = QgsError(0x12006);
}

/// `qgs_msg_header_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct Header {
    major: U16,
    minor: U16,
    kind: U32,
    /// Bytes of the whole message, without the frame's length.
    size: U32,
    error: U32,
}

/// Two lengths: of the report and of a list of IDs; or of the chosen ID and of the quote.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct Lengths {
    first: U32,
    second: U32,
}

/// The report in a request that anyone may have sent.
pub(super) fn report(request: &[u8]) -> Result<&[u8], QgsError> {
    let (header, rest) = Header::ref_from_prefix(request).map_err(|_| QgsError::INVALID_SIZE)?;
    if (header.major.get(), header.minor.get()) != (1, 1) {
        return Err(QgsError::INVALID_VERSION);
    }
    if header.kind.get() != GET_QUOTE_REQ {
        return Err(QgsError::INVALID_TYPE);
    }
    let (lengths, report) = Lengths::ref_from_prefix(rest).map_err(|_| QgsError::INVALID_SIZE)?;
    if header.size.get() as usize != request.len() || report.len() != TDREPORT_SIZE {
        return Err(QgsError::INVALID_SIZE);
    }
    if lengths.first.get() as usize != TDREPORT_SIZE || lengths.second.get() != 0 || header.error.get() != 0 {
        return Err(QgsError::INVALID_PARAMETER);
    }
    Ok(report)
}

/// The answer with its frame: a quote, or why there is none.
pub(super) fn answer(quote: Result<Vec<u8>, QgsError>) -> Vec<u8> {
    let (error, quote) = match quote {
        Ok(quote) => (0, quote),
        Err(QgsError(code)) => (code, Vec::new()),
    };
    let len = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let size = len(size_of::<Header>().saturating_add(size_of::<Lengths>()).saturating_add(quote.len()));
    let (major, minor, kind) = (U16::new(1), U16::new(1), U32::new(GET_QUOTE_RESP));
    let header = Header { major, minor, kind, size: U32::new(size), error: U32::new(error) };
    let lengths = Lengths { first: U32::new(0), second: U32::new(len(quote.len())) };
    [&size.to_be_bytes(), header.as_bytes(), lengths.as_bytes(), &quote].concat()
}
