//! Values that TOML has no type for.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

/// `N` bytes, written as hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; N];
        hex::decode_to_slice(&text, &mut bytes).map_err(|_| {
            let digits = N.saturating_mul(2);
            let count = text.chars().count();
            let found =
                if count == digits { "other characters".into() } else { format!("{count} characters") };
            de::Error::custom(format!("expected {digits} hex digits ({N} bytes), found {found}"))
        })?;
        Ok(Self(bytes))
    }
}

/// CHIP_ID, written in full (128 digits) or as Turin's 8 bytes (16 digits).
pub(super) fn chip_ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Hex<64>>, D::Error> {
    let read = |text: String| {
        let mut id = [0u8; 64];
        let len = text.len() / 2;
        let slot = id.get_mut(..len).filter(|_| matches!(text.len(), 16 | 128));
        let done = slot.is_some_and(|slot| hex::decode_to_slice(&text, slot).is_ok());
        done.then_some(Hex(id))
            .ok_or_else(|| de::Error::custom("expected a chip id of 128 hex digits, or of 16 for Turin"))
    };
    Vec::<String>::deserialize(deserializer)?.into_iter().map(read).collect()
}

/// A version of the guest ABI: "major.minor".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AbiVersion {
    /// Major.
    pub major: u8,
    /// Minor.
    pub minor: u8,
}

impl fmt::Display for AbiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl<'de> Deserialize<'de> for AbiVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let read = || {
            let (major, minor) = text.split_once('.')?;
            Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
        };
        read().ok_or_else(|| de::Error::custom("expected a version like \"1.51\""))
    }
}
