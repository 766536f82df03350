//! Init data: what the host says about a launch before the guest exists, and the guest can check.
//!
//! The text names the launch and the broker's key. Its SHA-256 digest is the guest's HOST_DATA, set by
//! the host at launch and signed into every report, so the guest can tell the broker that was there
//! when it was launched from any other. The text is written and accepted in one form only.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use sha2::{Digest, Sha256};

use super::ProtocolError;

/// Longest init data that fits a CHALLENGE.
pub const MAX_INIT_DATA: usize = 1024;

/// Names one launch of one guest. Random, so that no two launches share a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaunchId(pub [u8; 16]);

impl LaunchId {
    /// A fresh id.
    pub fn random(random: crate::Random) -> Self {
        let mut id = [0; 16];
        random(&mut id);
        Self(id)
    }
}

impl fmt::Display for LaunchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// The init data's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitData {
    /// The launch.
    pub launch_id: LaunchId,
    /// SHA-256 of the broker's static public key (P-256, SEC1 uncompressed).
    pub broker_key_hash: [u8; 32],
}

impl InitData {
    /// The text, as it is hashed.
    pub fn to_text(&self) -> String {
        format!(
            "version = 1\nlaunch-id = \"{}\"\nbroker-key-hash = \"{}\"\n",
            self.launch_id,
            hex_of(&self.broker_key_hash)
        )
    }

    /// Reads the text. Anything but the exact output of [`InitData::to_text`] is refused.
    pub fn parse(text: &[u8]) -> Result<Self, ProtocolError> {
        let text = core::str::from_utf8(text).map_err(|_| ProtocolError::BadInitData)?;
        let read = || {
            let rest = text.strip_prefix("version = 1\nlaunch-id = \"")?;
            let (launch, rest) = rest.split_once("\"\nbroker-key-hash = \"")?;
            let key = rest.strip_suffix("\"\n")?;
            Some(Self { launch_id: LaunchId(unhex(launch)?), broker_key_hash: unhex(key)? })
        };
        read().filter(|found| found.to_text() == text).ok_or(ProtocolError::BadInitData)
    }
}

/// The init data for a launch, as bytes.
pub fn init_data(launch_id: LaunchId, broker_key_hash: [u8; 32]) -> Vec<u8> {
    InitData { launch_id, broker_key_hash }.to_text().into_bytes()
}

/// What goes into HOST_DATA at launch: SHA-256 of the init data.
pub fn host_data(init_data: &[u8]) -> [u8; 32] {
    Sha256::digest(init_data).into()
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0u8; N];
    if text.len() != N.checked_mul(2)? {
        return None;
    }
    for (to, pair) in out.iter_mut().zip(text.as_bytes().chunks(2)) {
        let pair = core::str::from_utf8(pair).ok()?;
        *to = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn other_spellings_are_refused() {
        let text = InitData { launch_id: LaunchId([0xab; 16]), broker_key_hash: [0xcd; 32] }.to_text();
        assert!(InitData::parse(text.as_bytes()).is_ok());
        for other in [
            text.replace("ab", "AB"),
            text.replace("ab", "+b"),
            text.replace("version = 1", "version = 2"),
            text.replace(" = ", "="),
            format!("{text}\n"),
            format!("{text}extra = 1\n"),
            text.trim_end().into(),
        ] {
            assert_eq!(InitData::parse(other.as_bytes()), Err(ProtocolError::BadInitData), "{other}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(id: [u8; 16], key: [u8; 32]) {
            let data = InitData { launch_id: LaunchId(id), broker_key_hash: key };
            prop_assert!(data.to_text().len() <= MAX_INIT_DATA);
            prop_assert_eq!(InitData::parse(data.to_text().as_bytes()), Ok(data));
        }

        #[test]
        fn hostile_bytes_never_panic(bytes: Vec<u8>, text: String) {
            let _ = InitData::parse(&bytes);
            let _ = InitData::parse(format!("version = 1\nlaunch-id = \"{text}").as_bytes());
        }
    }
}
