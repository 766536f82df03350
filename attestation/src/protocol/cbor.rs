//! The subset of deterministic CBOR (RFC 8949 §4.2.1) that CCAT/1 uses.
//!
//! Unsigned integers, byte and text strings, arrays, and maps with ascending unsigned integer keys.
//! No indefinite lengths, tags, floats, negative or simple values. Decoding is driven by the schema
//! and never recurses, so the nesting is the schema's own: map, array, map, string.

use alloc::string::String;
use alloc::vec::Vec;

use super::ProtocolError;

const UINT: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;

/// Writes items to a buffer, always in their shortest form.
#[derive(Debug, Default)]
pub struct Encoder {
    out: Vec<u8>,
}

impl Encoder {
    /// An empty encoder.
    pub fn new() -> Self {
        Self::default()
    }

    fn head(&mut self, major: u8, value: u64) -> &mut Self {
        let major = major << 5;
        let bytes = value.to_be_bytes();
        match value {
            0..=23 => self.out.push(major | (value as u8)),
            24..=0xff => self.out.extend_from_slice(&[major | 24, value as u8]),
            0x100..=0xffff => {
                self.out.push(major | 25);
                self.out.extend(bytes.iter().skip(6));
            }
            0x1_0000..=0xffff_ffff => {
                self.out.push(major | 26);
                self.out.extend(bytes.iter().skip(4));
            }
            _ => {
                self.out.push(major | 27);
                self.out.extend(bytes);
            }
        }
        self
    }

    /// An unsigned integer; also a map's key.
    pub fn uint(&mut self, value: u64) -> &mut Self {
        self.head(UINT, value)
    }

    /// A byte string.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.head(BYTES, value.len() as u64);
        self.out.extend_from_slice(value);
        self
    }

    /// A text string.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.head(TEXT, value.len() as u64);
        self.out.extend_from_slice(value.as_bytes());
        self
    }

    /// The head of an array; its items follow.
    pub fn array(&mut self, len: usize) -> &mut Self {
        self.head(ARRAY, len as u64)
    }

    /// The head of a map; its pairs follow, in ascending order of keys.
    pub fn map(&mut self, len: usize) -> &mut Self {
        self.head(MAP, len as u64)
    }

    /// What was written.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}

/// Reads items from a buffer, accepting only what [`Encoder`] writes.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Reads from `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], ProtocolError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(ProtocolError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn head(&mut self, want: u8) -> Result<u64, ProtocolError> {
        let (&first, rest) = self.rest.split_first().ok_or(ProtocolError::Truncated)?;
        if first >> 5 != want {
            return Err(ProtocolError::WrongItem);
        }
        self.rest = rest;
        let (width, least) = match first & 0x1f {
            short @ 0..=23 => return Ok(u64::from(short)),
            24 => (1, 24),
            25 => (2, 0x100),
            26 => (4, 0x1_0000),
            27 => (8, 0x1_0000_0000),
            _ => return Err(ProtocolError::NotCanonical),
        };
        let value = self.take(width)?.iter().fold(0u64, |value, &b| (value << 8) | u64::from(b));
        if value < least { Err(ProtocolError::NotCanonical) } else { Ok(value) }
    }

    fn length(&mut self, major: u8, max: usize) -> Result<usize, ProtocolError> {
        let len = usize::try_from(self.head(major)?).map_err(|_| ProtocolError::OutOfRange)?;
        if len > max { Err(ProtocolError::OutOfRange) } else { Ok(len) }
    }

    /// An unsigned integer up to `max`.
    pub fn uint(&mut self, max: u64) -> Result<u64, ProtocolError> {
        let value = self.head(UINT)?;
        if value > max { Err(ProtocolError::OutOfRange) } else { Ok(value) }
    }

    /// An unsigned integer of eight bits.
    pub fn byte(&mut self) -> Result<u8, ProtocolError> {
        u8::try_from(self.uint(0xff)?).map_err(|_| ProtocolError::OutOfRange)
    }

    /// A byte string of up to `max` bytes.
    pub fn bytes(&mut self, max: usize) -> Result<&'a [u8], ProtocolError> {
        let len = self.length(BYTES, max)?;
        self.take(len)
    }

    /// A byte string of exactly `N` bytes.
    pub fn array_of<const N: usize>(&mut self) -> Result<[u8; N], ProtocolError> {
        self.bytes(N)?.try_into().map_err(|_| ProtocolError::OutOfRange)
    }

    /// A text string of up to `max` bytes.
    pub fn text(&mut self, max: usize) -> Result<String, ProtocolError> {
        let len = self.length(TEXT, max)?;
        let text = core::str::from_utf8(self.take(len)?).map_err(|_| ProtocolError::BadText)?;
        Ok(String::from(text))
    }

    /// The number of items of an array, up to `max`.
    pub fn array(&mut self, max: usize) -> Result<usize, ProtocolError> {
        self.length(ARRAY, max)
    }

    /// Starts a map of up to `max` pairs.
    pub fn map(&mut self, max: usize) -> Result<MapKeys, ProtocolError> {
        Ok(MapKeys { left: self.length(MAP, max)?, last: None })
    }

    /// Ends the reading: nothing may be left.
    pub fn finish(self) -> Result<(), ProtocolError> {
        if self.rest.is_empty() { Ok(()) } else { Err(ProtocolError::TrailingBytes) }
    }
}

/// Walks the keys of a map and checks their order.
#[derive(Debug)]
pub struct MapKeys {
    left: usize,
    last: Option<u64>,
}

impl MapKeys {
    /// The next key, after which the caller reads the value; none at the end of the map.
    pub fn next(&mut self, decoder: &mut Decoder<'_>) -> Result<Option<u64>, ProtocolError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        let key = decoder.uint(u64::MAX)?;
        if self.last.is_some_and(|last| key <= last) {
            return Err(ProtocolError::KeyOrder);
        }
        self.left = left;
        self.last = Some(key);
        Ok(Some(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn heads_are_shortest() {
        for (value, len) in [(0u64, 1), (23, 1), (24, 2), (255, 2), (256, 3), (65535, 3), (65536, 5)] {
            let mut e = Encoder::new();
            e.uint(value);
            let bytes = e.finish();
            assert_eq!(bytes.len(), len, "{value}");
            assert_eq!(Decoder::new(&bytes).uint(u64::MAX), Ok(value));
        }
    }

    #[test]
    fn longer_forms_are_refused() {
        for bytes in [
            &[0x18u8, 23][..],
            &[0x19, 0, 255],
            &[0x1a, 0, 0, 255, 255],
            &[0x1b, 0, 0, 0, 0, 255, 255, 255, 255],
        ] {
            assert_eq!(Decoder::new(bytes).uint(u64::MAX), Err(ProtocolError::NotCanonical), "{bytes:02x?}");
        }
    }

    #[test]
    fn indefinite_lengths_are_refused() {
        assert_eq!(Decoder::new(&[0x5f, 0xff]).bytes(10), Err(ProtocolError::NotCanonical));
        assert_eq!(Decoder::new(&[0xbf, 0xff]).map(10).err(), Some(ProtocolError::NotCanonical));
    }

    #[test]
    fn keys_ascend() {
        for (bytes, ok) in
            [(&[0xa2u8, 1, 0, 2, 0], true), (&[0xa2, 2, 0, 1, 0], false), (&[0xa2, 1, 0, 1, 0], false)]
        {
            let mut d = Decoder::new(bytes);
            let mut keys = d.map(2).unwrap();
            let mut walk = || -> Result<(), ProtocolError> {
                while keys.next(&mut d)?.is_some() {
                    d.byte()?;
                }
                Ok(())
            };
            assert_eq!(walk().is_ok(), ok);
        }
    }

    #[test]
    fn a_huge_length_allocates_nothing() {
        let bytes = [0x7b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Decoder::new(&bytes).text(usize::MAX).err(), Some(ProtocolError::Truncated));
        assert_eq!(Decoder::new(&bytes).text(100).err(), Some(ProtocolError::OutOfRange));
    }

    proptest! {
        #[test]
        fn strings_round_trip(a: Vec<u8>, b in ".{0,80}", n: u64) {
            let mut e = Encoder::new();
            e.bytes(&a).text(&b).uint(n);
            let out = e.finish();
            let mut d = Decoder::new(&out);
            prop_assert_eq!(d.bytes(usize::MAX), Ok(&a[..]));
            prop_assert_eq!(d.text(usize::MAX), Ok(b));
            prop_assert_eq!(d.uint(u64::MAX), Ok(n));
            prop_assert_eq!(d.finish(), Ok(()));
        }

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(bytes: Vec<u8>) {
            let mut d = Decoder::new(&bytes);
            if let Ok(value) = d.uint(u64::MAX) {
                let mut e = Encoder::new();
                e.uint(value);
                prop_assert!(bytes.starts_with(&e.finish()));
            }
        }
    }
}
