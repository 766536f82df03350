//! A measurement that can be explained: its final value and every value on the way.

use std::fmt;

/// A SHA-384 value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest384(pub [u8; 48]);

impl Digest384 {
    /// 48 zero bytes: where every launch digest starts.
    pub const ZERO: Digest384 = Digest384([0; 48]);
}

impl fmt::Display for Digest384 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Digest384 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One step of a launch: a run of pages, or one vCPU's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// What was added, for people: `"kernel"`, `"vCPU 0 state"`, …
    pub label: String,
    /// Guest-physical address of the first page.
    pub gpa: u64,
    /// Number of 4 KiB pages.
    pub pages: u64,
    /// The digest after the last of them.
    pub digest_after: Digest384,
}

/// The measurement of a launch, with its stages in launch order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measurement {
    /// The final value: what an attestation report says.
    pub digest: Digest384,
    /// Every step that led to it.
    pub stages: Vec<Stage>,
}
