//! The SEV-SNP launch digest: a chain of SHA-384 over one PAGE_INFO structure per page
//! (SEV-SNP firmware ABI, 8.17.2).

use sha2::{Digest, Sha384};
use snafu::Snafu;

use super::pages::{PageHash, PlanHashes, hash_pages};
use super::stages::{Digest384, Measurement, Stage};
use super::vmsa::vmsa_page;
use crate::plan::{CpuState, LaunchPlan, PageKind, PageRun, SourceError};

/// The address that every VMSA is measured at: KVM passes the highest page, whatever the VMSA's own.
pub const VMSA_GPA: u64 = 0xffff_ffff_f000;

/// PAGE_TYPE of a page whose contents are measured.
const PAGE_TYPE_NORMAL: u8 = 1;

/// PAGE_TYPE of a VMSA; KVM adds those itself, so [`PageKind`] has no name for it.
const PAGE_TYPE_VMSA: u8 = 2;

/// PAGE_INFO, 0x70 bytes (SEV-SNP firmware ABI, table 67).
const PAGE_INFO_LEN: u16 = 0x70;

/// Pages that are hashed at once.
const CHUNK: u64 = 64;

/// A plan could not be measured.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(super)))]
pub enum MeasureError {
    /// The bytes of a run could not be read.
    #[snafu(display(
        "cannot measure the {label}: {source}. The file must stay as it was when the launch was planned"
    ))]
    Read {
        /// Label of the run.
        label: &'static str,
        /// Why.
        source: SourceError,
    },
    /// A run does not start on a page or runs over the end of the address space.
    #[snafu(display(
        "the {label} at {gpa:#x}, {pages} pages, is not made of whole pages inside the address space: \
         the plan is wrong"
    ))]
    Unaligned {
        /// Label of the run.
        label: &'static str,
        /// Its address.
        gpa: u64,
        /// Its length in pages.
        pages: u64,
    },
}

/// PAGE_TYPE of a kind (SEV-SNP firmware ABI, table 66); `None` for what is no part of the launch.
fn page_type(kind: PageKind) -> Option<u8> {
    match kind {
        PageKind::Measured => Some(PAGE_TYPE_NORMAL),
        PageKind::Zero => Some(3),
        PageKind::Unmeasured => Some(4),
        PageKind::Secrets => Some(5),
        PageKind::Cpuid => Some(6),
        PageKind::Shared => None,
    }
}

/// The digest while pages are added to it, in the order of the launch.
///
/// The predictor and the simulated platform both use it, from different sides: one feeds it what the
/// plan says, the other what arrived.
#[derive(Debug, Clone)]
pub struct SnpDigest {
    current: Digest384,
}

impl Default for SnpDigest {
    fn default() -> Self {
        SnpDigest { current: Digest384::ZERO }
    }
}

impl SnpDigest {
    /// A digest of nothing: 48 zero bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// A digest that has come to `value` already.
    pub fn after(value: Digest384) -> Self {
        SnpDigest { current: value }
    }

    /// Adds one vCPU's state by the hash of its page.
    pub fn update_vmsa_hash(&mut self, hash: &PageHash) {
        self.extend(PAGE_TYPE_VMSA, VMSA_GPA, hash);
    }

    /// Adds one page. `contents` only counts for [`PageKind::Measured`]; a [`PageKind::Shared`] page
    /// changes nothing.
    pub fn update(&mut self, kind: PageKind, gpa: u64, contents: &[u8; 4096]) {
        let Some(page_type) = page_type(kind) else { return };
        let hash = match kind {
            PageKind::Measured => Sha384::digest(contents).into(),
            _ => [0; 48],
        };
        self.extend(page_type, gpa, &hash);
    }

    /// Adds one vCPU's state; `page` as [`vmsa_page`] makes it.
    pub fn update_vmsa(&mut self, page: &[u8; 4096]) {
        self.extend(PAGE_TYPE_VMSA, VMSA_GPA, &Sha384::digest(page).into());
    }

    /// Adds one vCPU's state at an address of its own, which KVM never does.
    pub(super) fn update_vmsa_at(&mut self, gpa: u64, page: &[u8; 4096]) {
        self.extend(PAGE_TYPE_VMSA, gpa, &Sha384::digest(page).into());
    }

    /// The value so far.
    pub fn value(&self) -> Digest384 {
        self.current
    }

    fn extend(&mut self, page_type: u8, gpa: u64, contents: &[u8; 48]) {
        let mut hasher = Sha384::new();
        hasher.update(self.current.0);
        hasher.update(contents);
        hasher.update(PAGE_INFO_LEN.to_le_bytes());
        // PAGE_TYPE, IMI_PAGE, reserved, permissions of VMPL 3, 2 and 1: KVM grants none at launch.
        hasher.update([page_type, 0, 0, 0, 0, 0]);
        hasher.update(gpa.to_le_bytes());
        self.current = Digest384(hasher.finalize().into());
    }

    /// Adds a run of pages, reading its bytes piece by piece.
    pub fn update_run(&mut self, run: &PageRun) -> Result<(), MeasureError> {
        check_run(run)?;
        if run.kind != PageKind::Measured {
            self.update_without_contents(run);
            return Ok(());
        }
        let mut first = 0;
        while first < run.pages {
            let hashes = hash_pages(run, first, CHUNK)?;
            self.update_hashed(run, first, &hashes);
            first += CHUNK;
        }
        Ok(())
    }

    /// Adds pages of a measured run from its page `first` on, by the hashes of their contents.
    pub fn update_hashed(&mut self, run: &PageRun, first: u64, hashes: &[PageHash]) {
        for (page, hash) in (first..).zip(hashes) {
            self.extend(PAGE_TYPE_NORMAL, run.gpa + page * PageRun::PAGE_SIZE as u64, hash);
        }
    }

    /// Adds a run of any other kind.
    fn update_without_contents(&mut self, run: &PageRun) {
        let Some(page_type) = page_type(run.kind) else { return };
        for page in 0..run.pages {
            self.extend(page_type, run.gpa + page * PageRun::PAGE_SIZE as u64, &[0; 48]);
        }
    }
}

pub(super) fn check_run(run: &PageRun) -> Result<(), MeasureError> {
    let fits = run
        .pages
        .checked_mul(PageRun::PAGE_SIZE as u64)
        .and_then(|size| run.gpa.checked_add(size))
        .is_some_and(|_| run.gpa.is_multiple_of(PageRun::PAGE_SIZE as u64));
    match fits {
        true => Ok(()),
        false => UnalignedSnafu { label: run.label, gpa: run.gpa, pages: run.pages }.fail(),
    }
}

/// The launch digest of a plan: its pages in order, then every vCPU's state.
///
/// Every run that is part of the launch and every vCPU becomes a [`Stage`].
pub fn measure_snp(plan: &LaunchPlan) -> Result<Measurement, MeasureError> {
    measure_snp_hashed(plan, &PlanHashes::default())
}

/// Like [`measure_snp`], with what is in `hashes` already hashed.
pub fn measure_snp_hashed(plan: &LaunchPlan, hashes: &PlanHashes) -> Result<Measurement, MeasureError> {
    let mut digest = SnpDigest::new();
    let mut stages = Vec::with_capacity(plan.pages.len() + plan.vcpus.len());
    for (i, run) in plan.pages.iter().enumerate().filter(|(_, r)| r.kind != PageKind::Shared) {
        match hashes.of(i, run) {
            Some(hashes) => {
                check_run(run)?;
                digest.update_hashed(run, 0, hashes);
            }
            None => digest.update_run(run)?,
        }
        stages.push(Stage {
            label: run.label.to_owned(),
            gpa: run.gpa,
            pages: run.pages,
            digest_after: digest.value(),
        });
    }
    // All vCPUs but the first are mostly the same.
    let mut last: Option<(&CpuState, PageHash)> = None;
    for (i, cpu) in plan.vcpus.iter().enumerate() {
        let hash = match last {
            Some((same, hash)) if same == cpu => hash,
            _ => Sha384::digest(vmsa_page(cpu, plan.identity.vmsa_features)).into(),
        };
        last = Some((cpu, hash));
        digest.extend(PAGE_TYPE_VMSA, VMSA_GPA, &hash);
        stages.push(Stage { label: vcpu_label(i), gpa: VMSA_GPA, pages: 1, digest_after: digest.value() });
    }
    Ok(Measurement { digest: digest.value(), stages })
}

/// The label of a vCPU's stage. Whoever else makes stages (the simulator) uses the same.
pub fn vcpu_label(index: usize) -> String {
    format!("vCPU {index} state")
}

#[cfg(test)]
#[path = "snp_tests.rs"]
mod tests;
