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
mod store;
mod table;

pub use certificate::{CertError, Certificate, CertificateRole};
pub use crl::{Crl, CrlError};
pub use store::Store;
pub use table::{CertTable, Guid, TableError, encode_table};

/// Text from a certificate, made safe to print: the guest chose it, and a terminal would obey it.
pub(crate) fn printable(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push_str("..");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn control_characters_are_shown_not_obeyed() {
        assert_eq!(printable("CN=a\u{1b}[2J\r\n"), "CN=a\\u{1b}[2J\\r\\n");
        assert_eq!(printable(&"x".repeat(201)), format!("{}..", "x".repeat(200)));
    }
}
