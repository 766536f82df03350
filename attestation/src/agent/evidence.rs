//! Where evidence comes from.

use alloc::vec::Vec;
use core::fmt;

use crate::protocol::Tee;

/// What the TEE gives for a REPORT_DATA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The report or quote.
    pub report: Vec<u8>,
    /// The GUID certificate table that came with it; may be empty.
    pub auxblob: Vec<u8>,
}

/// Why there is no evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EvidenceError {
    /// This guest has no TEE.
    NoTee,
    /// The TEE's interface is there and answered with an error; the number is its own.
    Failed(i32),
    /// The TEE's interface gave something of an impossible size.
    BadSize,
    /// The interface did not settle after several attempts.
    Busy,
}

impl fmt::Display for EvidenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTee => f.write_str("this guest has no TEE"),
            Self::Failed(code) => write!(f, "the TEE's interface failed with code {code}"),
            Self::BadSize => f.write_str("the TEE's interface gave data of an impossible size"),
            Self::Busy => f.write_str("the TEE's interface stayed busy"),
        }
    }
}

impl core::error::Error for EvidenceError {}

/// Asks a TEE for evidence.
pub trait EvidenceProvider {
    /// What kind of evidence it gives.
    fn tee(&self) -> Tee;

    /// Evidence that contains `report_data`.
    fn evidence(&mut self, report_data: &[u8; 64]) -> Result<Evidence, EvidenceError>;
}

/// The provider of a plain guest: HELLO says that there is no evidence.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoEvidence;

impl EvidenceProvider for NoEvidence {
    fn tee(&self) -> Tee {
        Tee::NONE
    }

    fn evidence(&mut self, _: &[u8; 64]) -> Result<Evidence, EvidenceError> {
        Err(EvidenceError::NoTee)
    }
}

impl<P: EvidenceProvider + ?Sized> EvidenceProvider for &mut P {
    fn tee(&self) -> Tee {
        (**self).tee()
    }

    fn evidence(&mut self, report_data: &[u8; 64]) -> Result<Evidence, EvidenceError> {
        (**self).evidence(report_data)
    }
}
