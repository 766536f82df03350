//! The service's wire format. A frame is a big-endian length and that many bytes; what is in it is
//! little-endian (Intel DCAP, QuoteGeneration/quote_wrapper/qgs/qgs_msg_lib.h).
//!
//! The service is a process of its own, which a guest's report has been through: nothing in its answer is
//! believed before it is checked.

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

use std::io::{self, Read};

use snafu::{OptionExt, ResultExt, Snafu, ensure};

/// Header: version u16 + u16, type u32, size u32, error u32.
const HEADER: usize = 16;
/// Sizes of the two parts that an answer has after its header.
const SIZES: usize = 8;
const MAJOR: u16 = 1;
const MINOR: u16 = 1;
const GET_QUOTE_REQ: u32 = 0;
const GET_QUOTE_RESP: u32 = 1;

/// Why an answer is none.
#[derive(Debug, Snafu)]
#[non_exhaustive]
pub enum AnswerError {
    /// More than a message can hold.
    #[snafu(display("a report of {len} bytes is too long for a request"))]
    ReportTooLong {
        /// Its length.
        len: usize,
    },
    /// Reading failed, or the stream ended early.
    #[snafu(display("the answer breaks off: {source}"))]
    Read {
        /// The kernel's answer.
        source: io::Error,
    },
    /// The frame's length cannot be.
    #[snafu(display("an answer of {len} bytes, where {HEADER} to {limit} can be taken"))]
    FrameLength {
        /// Its length.
        len: u32,
        /// The longest that is taken.
        limit: usize,
    },
    /// A message of another version.
    #[snafu(display("an answer of version {major}.{minor}; {MAJOR}.{MINOR} is what is spoken here"))]
    Version {
        /// Major version.
        major: u16,
        /// Minor version.
        minor: u16,
    },
    /// A message of another type.
    #[snafu(display("an answer of type {kind}, not {GET_QUOTE_RESP} (GET_QUOTE_RESP)"))]
    Type {
        /// Its type.
        kind: u32,
    },
    /// The service refused.
    #[snafu(display("it refuses with error {code:#x}, {}", name_of(*code)))]
    Refused {
        /// Its error code.
        code: u32,
    },
    /// The sizes in the answer contradict each other.
    #[snafu(display("an answer whose sizes contradict each other ({what})"))]
    Sizes {
        /// Which.
        what: &'static str,
    },
    /// An answer without a quote.
    #[snafu(display("an answer without a quote"))]
    NoQuote,
}

/// `qgs_msg_error_t`.
fn name_of(code: u32) -> &'static str {
    match code {
        0x12001 => "an unexpected error: see its log",
        0x12002 => "out of memory",
        0x12003 => "an invalid parameter: is the report one of this machine's?",
        0x12004 => "an unknown version",
        0x12005 => "an unknown message type",
        0x12006 => "an invalid size",
        0x12007 => "an invalid code",
        _ => "which is no code of the protocol's: see its log",
    }
}

/// The frame that asks for the quote over `report`.
pub fn quote_request(report: &[u8]) -> Result<Vec<u8>, AnswerError> {
    let too_long = ReportTooLongSnafu { len: report.len() };
    let size = report.len().checked_add(HEADER + SIZES).and_then(|n| u32::try_from(n).ok());
    let size = size.context(too_long)?;
    let report_size = u32::try_from(report.len()).ok().context(too_long)?;
    let mut frame = Vec::with_capacity(report.len().saturating_add(4 + HEADER + SIZES));
    frame.extend(size.to_be_bytes());
    frame.extend(MAJOR.to_le_bytes());
    frame.extend(MINOR.to_le_bytes());
    for word in [GET_QUOTE_REQ, size, 0, report_size, 0] {
        frame.extend(word.to_le_bytes());
    }
    frame.extend_from_slice(report);
    Ok(frame)
}

/// Reads one answer; the quote in it, of at most `limit` bytes.
pub fn read_quote(stream: &mut impl Read, limit: usize) -> Result<Vec<u8>, AnswerError> {
    let limit = limit.saturating_add(HEADER + SIZES);
    let mut len = [0; 4];
    stream.read_exact(&mut len).context(ReadSnafu)?;
    let len = u32::from_be_bytes(len);
    let wanted = usize::try_from(len).ok().filter(|n| (HEADER..=limit).contains(n));
    let mut message = vec![0; wanted.context(FrameLengthSnafu { len, limit })?];
    stream.read_exact(&mut message).context(ReadSnafu)?;
    parse(message)
}

/// The quote in an answer (without its frame).
fn parse(mut message: Vec<u8>) -> Result<Vec<u8>, AnswerError> {
    let cut = SizesSnafu { what: "shorter than its header" };
    let (version, rest) = message.split_first_chunk::<4>().context(cut)?;
    let [a, b, c, d] = *version;
    let (major, minor) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
    ensure!((major, minor) == (MAJOR, MINOR), VersionSnafu { major, minor });
    let (kind, rest) = take_u32(rest).context(cut)?;
    ensure!(kind == GET_QUOTE_RESP, TypeSnafu { kind });
    let (size, rest) = take_u32(rest).context(cut)?;
    let (code, rest) = take_u32(rest).context(cut)?;
    // A refusal comes without a body.
    ensure!(code == 0, RefusedSnafu { code });
    ensure!(usize::try_from(size) == Ok(message.len()), SizesSnafu { what: "message and frame" });
    let body = SizesSnafu { what: "shorter than its body" };
    let (id_size, rest) = take_u32(rest).context(body)?;
    let (quote_size, quote) = take_u32(rest).context(body)?;
    ensure!(id_size == 0, SizesSnafu { what: "an identity that was not asked for" });
    ensure!(usize::try_from(quote_size) == Ok(quote.len()), SizesSnafu { what: "quote and message" });
    ensure!(!quote.is_empty(), NoQuoteSnafu);
    message.drain(..HEADER + SIZES);
    Ok(message)
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (value, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*value), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An answer with every field free, in a frame of the right length.
    fn answer(
        version: (u16, u16),
        kind: u32,
        size: u32,
        error: u32,
        id: u32,
        quote_size: u32,
        quote: &[u8],
    ) -> Vec<u8> {
        let mut message = Vec::new();
        message.extend(version.0.to_le_bytes());
        message.extend(version.1.to_le_bytes());
        for word in [kind, size, error, id, quote_size] {
            message.extend(word.to_le_bytes());
        }
        message.extend_from_slice(quote);
        [&(message.len() as u32).to_be_bytes()[..], &message].concat()
    }

    fn good(quote: &[u8]) -> Vec<u8> {
        let n = quote.len() as u32;
        answer((1, 1), 1, 24 + n, 0, 0, n, quote)
    }

    fn read(bytes: &[u8]) -> Result<Vec<u8>, AnswerError> {
        read_quote(&mut &bytes[..], 100)
    }

    #[test]
    fn a_request_for_a_report_has_1052_bytes() {
        let frame = quote_request(&[7; 1024]).unwrap();
        assert_eq!(frame.len(), 1052);
        let words: Vec<_> =
            frame[8..28].chunks(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect();
        assert_eq!(frame[..4], 1048u32.to_be_bytes());
        assert_eq!(frame[4..8], [1, 0, 1, 0]);
        assert_eq!(words, [0, 1048, 0, 1024, 0]);
        assert_eq!(frame[28..], [7; 1024]);
    }

    #[test]
    fn a_good_answer_is_its_quote() {
        assert_eq!(read(&good(b"quote")).unwrap(), b"quote");
        assert_eq!(read(&good(&[1; 100])).unwrap(), [1; 100]);
        // What comes after the frame is not read.
        assert_eq!(read(&[good(b"quote"), vec![9; 9]].concat()).unwrap(), b"quote");
    }

    #[test]
    fn every_lie_is_named() {
        let refusal = |bytes: Vec<u8>| read(&bytes).unwrap_err().to_string();
        let q = b"quote";
        assert!(refusal(answer((2, 1), 1, 29, 0, 0, 5, q)).contains("version 2.1"));
        assert!(refusal(answer((1, 0), 1, 29, 0, 0, 5, q)).contains("version 1.0"));
        assert!(refusal(answer((1, 1), 3, 29, 0, 0, 5, q)).contains("type 3"));
        assert!(refusal(answer((1, 1), 1, 29, 0x12003, 0, 5, q)).contains("0x12003"));
        assert!(refusal(answer((1, 1), 1, 30, 0, 0, 5, q)).contains("message and frame"));
        assert!(refusal(answer((1, 1), 1, 29, 0, 1, 5, q)).contains("identity"));
        assert!(refusal(answer((1, 1), 1, 29, 0, 0, 4, q)).contains("quote and message"));
        assert!(refusal(answer((1, 1), 1, 29, 0, 0, u32::MAX, q)).contains("quote and message"));
        assert!(refusal(good(b"")).contains("without a quote"));
        assert!(refusal(good(&[1; 101])).contains("125 bytes"));
        assert!(refusal([15u32.to_be_bytes().to_vec(), vec![0; 15]].concat()).contains("15 bytes"));
        assert!(refusal(u32::MAX.to_be_bytes().to_vec()).contains("4294967295 bytes"));
        let whole = good(q);
        assert!(refusal(whole[..whole.len() - 1].to_vec()).contains("breaks off"));
        assert!(refusal(Vec::new()).contains("breaks off"));
    }

    #[test]
    fn a_refusal_has_no_body() {
        let mut message = Vec::new();
        message.extend([1, 0, 1, 0]);
        [1u32, 16, 0x12001].iter().for_each(|w| message.extend(w.to_le_bytes()));
        let frame = [&16u32.to_be_bytes()[..], &message].concat();
        assert!(matches!(read(&frame), Err(AnswerError::Refused { code: 0x12001 })));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic_and_never_exceed_the_limit(bytes: Vec<u8>, limit in 0usize..64) {
            let framed = [&(bytes.len() as u32).to_be_bytes()[..], &bytes].concat();
            for stream in [&bytes, &framed] {
                if let Ok(quote) = read_quote(&mut &stream[..], limit) {
                    prop_assert!(quote.len() <= limit);
                }
            }
        }

        #[test]
        fn one_wrong_byte_in_the_header_is_never_a_quote(at in 0usize..28, xor in 1u8..) {
            let mut bytes = good(b"the quote");
            bytes[at] ^= xor;
            prop_assert!(read(&bytes).is_err());
        }
    }
}
