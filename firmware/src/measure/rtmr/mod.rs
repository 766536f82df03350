//! RTMR0 to RTMR3: what the firmware and the kernel of a TD measure by themselves, event by event.
//!
//! Firmware extends them as it would the PCRs of a TPM: 1 and 7 go to RTMR0, 2 to 6 to RTMR1, 8 to 15 to
//! RTMR2 (UEFI specification 2.10, 38.4; edk2's `SecurityPkg/Library/HashLibTdx` and `OvmfPkg/Library/
//! SecMeasurementLib`). RTMR3 is the application's. Versions of the firmware measure different things, and which
//! they do is read from the code in the image. Where that does not tell for sure, a register is told up to the
//! last event that is certain, and that it goes on.

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

mod authenticode;
mod habits;
mod predict;
mod unpack;
mod variables;
mod volume;

pub use authenticode::{PeError, authenticode_sha384};
pub use predict::{LoadOptions, TdBoot, TdKernel, predict_rtmrs};
pub use variables::{SecureBootVariable, secure_boot_variables};

use sha2::{Digest, Sha384};

use super::stages::Digest384;

/// One measurement that a guest makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What is measured, for people.
    pub what: String,
    /// What is extended: SHA-384 of it.
    pub digest: Digest384,
    /// The register after it.
    pub value: Digest384,
    /// What this prediction rests on, if it is not certain.
    pub assumption: Option<&'static str>,
}

/// One register and what is known of its events, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rtmr {
    /// The events that can be predicted.
    pub events: Vec<Event>,
    /// What comes after them and cannot be; empty if the value is the register's.
    pub unknown: Vec<String>,
}

impl Rtmr {
    fn new() -> Self {
        Rtmr { events: Vec::new(), unknown: Vec::new() }
    }

    /// The value after the last event that is known.
    pub fn value(&self) -> Digest384 {
        self.events.last().map_or(Digest384::ZERO, |e| e.value)
    }

    /// Whether that is what evidence will say.
    pub fn is_complete(&self) -> bool {
        self.unknown.is_empty()
    }

    fn extend(&mut self, what: impl Into<String>, digest: Digest384, assumption: Option<&'static str>) {
        let hash = Sha384::new().chain_update(self.value().0).chain_update(digest.0).finalize();
        let value = Digest384(hash.into());
        self.events.push(Event { what: what.into(), digest, value, assumption });
    }

    fn measure(&mut self, what: impl Into<String>, bytes: &[u8], assumption: Option<&'static str>) {
        self.extend(what, Digest384(Sha384::digest(bytes).into()), assumption);
    }
}

#[cfg(test)]
mod tests;
