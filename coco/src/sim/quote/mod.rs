//! Quotes of simulated TDs, and the service that makes them.
//!
//! A real quote is made by Intel's quoting enclave from a TDREPORT whose MAC only that platform can check.
//! Here it is [`QuoteService`], with keys that are public (`attestation/sim-pki/tdx`): its quotes have the
//! layout and the signatures of real ones, and prove nothing.

mod keys;
mod layout;
mod service;
mod wire;

pub use layout::QuoteForm;
pub use service::{QuoteServer, QuoteService};

#[cfg(test)]
mod tests;
