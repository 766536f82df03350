//! CCAT/1, the attestation protocol between a guest and the broker, over a byte stream.
//!
//! ```text
//! guest                                   broker
//!   │ 1 HELLO      tee, nonce, secret ids    │
//!   │ ─────────────────────────────────────▶ │
//!   │ 2 CHALLENGE  nonce, broker key, signed │
//!   │ ◀───────────────────────────────────── │
//!   │ 3 EVIDENCE   ephemeral key, report     │   REPORT_DATA names the transcript and the key
//!   │ ─────────────────────────────────────▶ │
//!   │ 4 RESULT     sealed secrets            │   encrypted to that key
//!   │ ◀───────────────────────────────────── │
//!   │ 5 CONFIRM    HMAC over the transcript  │
//!   │ ─────────────────────────────────────▶ │
//! ```
//!
//! A frame is a 12-byte header and a deterministic CBOR map. One attempt per connection; any error
//! closes it, and the peer learns no more than a one-byte class.
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

mod base64url;
pub mod cbor;
mod error;
pub mod frame;
pub mod init_data;
pub mod keys;
pub mod message;
pub mod seal;
#[cfg(test)]
pub(crate) mod test_random;
pub mod transcript;

pub use error::{ErrorClass, ProtocolError};
pub use frame::{Frame, FrameReader, FrameType};
pub use init_data::{InitData, LaunchId, host_data, init_data};
pub use keys::{PublicKey, StaticKey};
pub use message::{Mode, Tee};

/// Version in the frame header, and the only one in HELLO's list that this crate speaks.
pub const VERSION: u8 = 1;

/// The vsock port on which the host serves the broker.
pub const DEFAULT_PORT: u32 = 4226;

/// How many secrets one handshake may ask for; four of the longest names fit HELLO's limit.
pub const MAX_SECRETS: usize = 4;

/// Longest name of a secret, in bytes.
pub const MAX_SECRET_ID: usize = 64;

/// Largest secret, in bytes.
pub const MAX_SECRET_LEN: usize = 12 * 1024;

/// Whether `id` may name a secret: `[A-Za-z0-9._-]`, one to [`MAX_SECRET_ID`] bytes.
///
/// The alphabet needs no escaping in JSON, in TOML or in a terminal.
pub fn is_secret_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= MAX_SECRET_ID
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}
