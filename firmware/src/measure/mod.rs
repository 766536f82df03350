//! What a plan will measure to, computed without any hardware.
//!
//! - [`snp`]: the launch digest of SEV-SNP, page by page, as the platform's firmware computes it.
//! - [`measure_tdx`]: MRTD of TDX, in the order of either launcher there is.
//! - [`rtmr`]: what a TD's firmware and kernel measure by themselves.
//! - [`vmsa_page`]: the page that a vCPU's initial state is measured as.
//! - [`measure_sev`]: the same for the older SEV and SEV-ES, which only predictions need.
//! - [`measure_igvm`]: an IGVM file, on SNP and on TDX.
//! - [`explain_difference`]: where two measurements part, for people.

mod explain;
mod igvm;
mod pages;
pub mod rtmr;
mod sev;
pub mod snp;
mod stages;
mod tdx;
mod vmsa;

pub use explain::{Difference, explain_difference};
pub use igvm::{IgvmMeasureError, measure_igvm};
pub use pages::{PageHash, PlanHashes, hash_pages};
pub use sev::{SevMode, measure_sev};
pub use snp::{MeasureError, SnpDigest, VMSA_GPA, measure_snp, measure_snp_hashed, vcpu_label};
pub use stages::{Digest384, Measurement, Stage};
pub use tdx::{MrtdDigest, Passes, measure_tdx};
pub use vmsa::vmsa_page;
