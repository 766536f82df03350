//! What a plan will measure to, computed without any hardware.
//!
//! - [`snp`]: the launch digest of SEV-SNP, page by page, as the platform's firmware computes it.
//! - [`vmsa_page`]: the page that a vCPU's initial state is measured as.
//! - [`measure_igvm`]: an IGVM file, on SNP and on TDX.
//! - [`explain_difference`]: where two measurements part, for people.

mod explain;
mod igvm;
pub mod snp;
mod stages;
mod vmsa;

pub use explain::{Difference, explain_difference};
pub use igvm::{IgvmMeasureError, measure_igvm};
pub use snp::{MeasureError, SnpDigest, measure_snp};
pub use stages::{Digest384, Measurement, Stage};
pub use vmsa::vmsa_page;
