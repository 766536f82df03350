//! base64url without padding (RFC 4648 §5), for the JWE header.

use alloc::string::String;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn symbol(value: u32) -> char {
    ALPHABET.get((value & 0x3f) as usize).map_or('A', |&b| char::from(b))
}

/// Encodes `bytes`.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3).saturating_mul(4));
    for chunk in bytes.chunks(3) {
        let mut group = [0u8; 4];
        for (to, from) in group.iter_mut().skip(1).zip(chunk) {
            *to = *from;
        }
        let word = u32::from_be_bytes(group);
        for (position, shift) in [18u32, 12, 6, 0].into_iter().enumerate() {
            if position <= chunk.len() {
                out.push(symbol(word >> shift));
            }
        }
    }
    out
}

/// Decodes exactly 32 bytes from 43 characters, refusing every other spelling of them.
pub(crate) fn decode_32(text: &[u8]) -> Option<[u8; 32]> {
    if text.len() != 43 {
        return None;
    }
    let mut out = [0u8; 32];
    let mut to = out.iter_mut();
    for chunk in text.chunks(4) {
        let mut word = 0u32;
        for position in 0..4usize {
            let value = match chunk.get(position) {
                Some(c) => u32::try_from(ALPHABET.iter().position(|a| a == c)?).ok()?,
                None => 0,
            };
            word = (word << 6) | value;
        }
        let [_, a, b, c] = word.to_be_bytes();
        for byte in [a, b, c] {
            match to.next() {
                Some(slot) => *slot = byte,
                // The last group has two bytes of data; what is left over must be zero.
                None if byte != 0 => return None,
                None => {}
            }
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc4648_examples() {
        let cases = [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg")];
        for (plain, text) in cases {
            assert_eq!(encode(plain.as_bytes()), text);
        }
        assert_eq!(encode(&[0xfb, 0xff]), "-_8");
    }

    proptest! {
        #[test]
        fn round_trip(bytes: [u8; 32]) {
            prop_assert_eq!(decode_32(encode(&bytes).as_bytes()), Some(bytes));
        }

        #[test]
        fn one_spelling_only(text in "[A-Za-z0-9_=-]{42,44}") {
            if let Some(bytes) = decode_32(text.as_bytes()) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }
}
