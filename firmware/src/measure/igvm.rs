//! What an IGVM file will measure to: on SNP the launch digest, on TDX the MRTD (coco.md 5.2, 3.10).

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

use snafu::{ResultExt, Snafu};

use super::snp::{MeasureError, SnpDigest, VMSA_GPA, vcpu_label};
use super::stages::{Digest384, Measurement, Stage};
use super::tdx::{MrtdDigest, Passes};
use super::vmsa::vmsa_page;
use crate::igvm::{IgvmError, IgvmFile, PlatformType};
use crate::plan::igvm::{platform, snp_contexts};
use crate::plan::{IgvmPlanError, IgvmStep, Loader, PageKind, PageRun, igvm_steps};

/// An IGVM file could not be measured.
#[derive(Debug, Snafu)]
pub enum IgvmMeasureError {
    /// It cannot be launched on that platform.
    #[snafu(display("{source}"))]
    Plan {
        /// Why.
        source: IgvmPlanError,
    },
    /// Its data cannot be read.
    #[snafu(display("{source}"))]
    Data {
        /// Why.
        source: IgvmError,
    },
    /// Its pages cannot be read.
    #[snafu(display("{source}"))]
    Pages {
        /// Why.
        source: MeasureError,
    },
    /// A platform without a measurement of ours.
    #[snafu(display("{found} has no launch measurement that is known here. Choose SEV-SNP or TDX"))]
    Platform {
        /// The platform.
        found: PlatformType,
    },
}

/// What a file measures to on [`PlatformType::SEV_SNP`] or [`PlatformType::TDX`] when `loader` loads it.
pub fn measure_igvm(
    file: &IgvmFile,
    on: PlatformType,
    loader: Loader,
) -> Result<Measurement, IgvmMeasureError> {
    match on {
        PlatformType::SEV_SNP => snp(file, loader),
        PlatformType::TDX => tdx(file, loader),
        found => PlatformSnafu { found }.fail(),
    }
}

fn stage(run: &PageRun, digest_after: Digest384) -> Stage {
    Stage { label: run.label.to_owned(), gpa: run.gpa, pages: run.pages, digest_after }
}

fn snp(file: &IgvmFile, loader: Loader) -> Result<Measurement, IgvmMeasureError> {
    let on = platform(file, PlatformType::SEV_SNP).context(PlanSnafu)?;
    // Asked first: what cannot be launched need not be hashed.
    let contexts = match loader {
        Loader::Igvm => Vec::new(),
        _ => snp_contexts(file, &on, loader).context(PlanSnafu)?,
    };
    let mut digest = SnpDigest::new();
    let mut stages = Vec::new();
    for step in igvm_steps(file, &on, loader).context(PlanSnafu)? {
        match step {
            IgvmStep::Run(run) if run.kind == PageKind::Shared => {}
            IgvmStep::Run(run) => {
                digest.update_run(&run).context(PagesSnafu)?;
                stages.push(stage(&run, digest.value()));
            }
            IgvmStep::Context { gpa, data, vp_index } if loader == Loader::Igvm => {
                digest.update_vmsa_at(gpa, &file.page(data).context(DataSnafu)?);
                let label = vcpu_label(vp_index.into());
                stages.push(Stage { label, gpa, pages: 1, digest_after: digest.value() });
            }
            // KVM measures them after everything else.
            IgvmStep::Context { .. } => {}
        }
    }
    for (i, context) in contexts.iter().enumerate() {
        digest.update_vmsa(&vmsa_page(&context.cpu, context.features));
        stages.push(Stage { label: vcpu_label(i), gpa: VMSA_GPA, pages: 1, digest_after: digest.value() });
    }
    Ok(Measurement { digest: digest.value(), stages })
}

fn tdx(file: &IgvmFile, loader: Loader) -> Result<Measurement, IgvmMeasureError> {
    let on = platform(file, PlatformType::TDX).context(PlanSnafu)?;
    let mut mrtd = MrtdDigest::new();
    let mut stages = Vec::new();
    for step in igvm_steps(file, &on, loader).context(PlanSnafu)? {
        let IgvmStep::Run(run) = step else { continue };
        if run.kind == PageKind::Shared {
            continue;
        }
        mrtd.run(&run, Passes::Single).context(PagesSnafu)?;
        stages.push(stage(&run, mrtd.value()));
    }
    Ok(Measurement { digest: mrtd.value(), stages })
}

#[cfg(test)]
#[path = "igvm_tests.rs"]
mod tests;
