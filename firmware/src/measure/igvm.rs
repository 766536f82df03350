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

use sha2::{Digest, Sha384};
use snafu::{ResultExt, Snafu};

use super::snp::{MeasureError, SnpDigest, VMSA_GPA, vcpu_label};
use super::stages::{Digest384, Measurement, Stage};
use super::vmsa::vmsa_page;
use crate::igvm::{IgvmError, IgvmFile, PlatformType};
use crate::plan::igvm::{Step, platform, snp_contexts, steps};
use crate::plan::{IgvmPlanError, Loader, PageKind, PageRun};

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
    for step in steps(file, &on, loader, None).context(PlanSnafu)? {
        match step {
            Step::Run(run) if run.kind == PageKind::Shared => {}
            Step::Run(run) => {
                digest.update_run(&run).context(PagesSnafu)?;
                stages.push(stage(&run, digest.value()));
            }
            Step::Context { gpa, data, vp_index } if loader == Loader::Igvm => {
                digest.update_vmsa_at(gpa, &file.page(data).context(DataSnafu)?);
                let label = vcpu_label(vp_index.into());
                stages.push(Stage { label, gpa, pages: 1, digest_after: digest.value() });
            }
            // KVM measures them after everything else.
            Step::Context { .. } => {}
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
    let mut mrtd = Mrtd::default();
    let mut stages = Vec::new();
    for step in steps(file, &on, loader, None).context(PlanSnafu)? {
        let Step::Run(run) = step else { continue };
        if run.kind == PageKind::Shared {
            continue;
        }
        mrtd.run(&run)?;
        stages.push(stage(&run, mrtd.value()));
    }
    Ok(Measurement { digest: mrtd.value(), stages })
}

/// MRTD while pages are added, in the single pass of upstream KVM.
#[derive(Clone, Default)]
struct Mrtd(Sha384);

impl Mrtd {
    fn value(&self) -> Digest384 {
        Digest384(self.0.clone().finalize().into())
    }

    /// A record of 128 bytes: name, address.
    fn record(&mut self, name: &[u8], gpa: u64) {
        let mut record = [0; 128];
        for (to, from) in record.iter_mut().zip(name) {
            *to = *from;
        }
        if let Some(to) = record.get_mut(16..24) {
            to.copy_from_slice(&gpa.to_le_bytes());
        }
        self.0.update(record);
    }

    fn run(&mut self, run: &PageRun) -> Result<(), IgvmMeasureError> {
        /// Bytes that MR.EXTEND takes.
        const CHUNK: usize = 256;
        let mut page = [0; PageRun::PAGE_SIZE];
        for i in 0..run.pages {
            let at = i.saturating_mul(PageRun::PAGE_SIZE as u64);
            let gpa = run.gpa.saturating_add(at);
            self.record(b"MEM.PAGE.ADD", gpa);
            if run.kind == PageKind::Measured {
                let read = run.read(at, &mut page);
                read.map_err(|source| MeasureError::Read { label: run.label, source }).context(PagesSnafu)?;
                for (chunk, at) in page.chunks_exact(CHUNK).zip((gpa..).step_by(CHUNK)) {
                    self.record(b"MR.EXTEND", at);
                    self.0.update(chunk);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "igvm_tests.rs"]
mod tests;
