//! SEV-SNP attestation reports.

pub mod layout;
