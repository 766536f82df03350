//! Certificates as they come with evidence: the GUID table, and fixed-shape checks of X.509.
//!
//! A chip key's certificate has no BasicConstraints or KeyUsage and always serial number 0, so a web
//! PKI verifier is the wrong tool. Here are only the pieces for a chain of exactly three.
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

mod certificate;
mod crl;
mod table;

pub use certificate::{CertError, Certificate, CertificateRole};
pub use crl::{Crl, CrlError};
pub use table::{CertTable, Guid, TableError, encode_table};
