//! Contents of measured pages, hashed ahead of the chain that they go into.
//!
//! The chain of a launch digest is a sequence by its nature, but fifteen sixteenths of its work is in
//! the contents of pages, which can be hashed by anyone at any time: callers with threads divide them.

use sha2::{Digest, Sha384};
use snafu::ResultExt;

use super::snp::{MeasureError, ReadSnafu};
use crate::plan::{LaunchPlan, PageKind, PageRun};

/// Bytes that are read from a source at once: a multiple of the page size.
const CHUNK_PAGES: u64 = 64;

/// SHA-384 of a page's contents.
pub type PageHash = [u8; 48];

/// Hashes the contents of `count` pages of `run`, from its page `first` on.
pub fn hash_pages(run: &PageRun, first: u64, count: u64) -> Result<Vec<PageHash>, MeasureError> {
    let count = count.min(run.pages.saturating_sub(first));
    let mut hashes = Vec::with_capacity(count.min(1 << 20) as usize);
    let mut buffer = vec![0; CHUNK_PAGES.min(count) as usize * PageRun::PAGE_SIZE];
    // Firmware has long stretches of the same page over and over.
    let mut last: Option<([u8; PageRun::PAGE_SIZE], PageHash)> = None;
    let (mut at, end) = (first, first + count);
    while at < end {
        let n = CHUNK_PAGES.min(end - at);
        let piece = &mut buffer[..n as usize * PageRun::PAGE_SIZE];
        run.read(at * PageRun::PAGE_SIZE as u64, piece).context(ReadSnafu { label: run.label })?;
        for page in piece.as_chunks::<{ PageRun::PAGE_SIZE }>().0 {
            let hash = match &last {
                Some((bytes, hash)) if bytes == page => *hash,
                _ => Sha384::digest(page).into(),
            };
            if last.as_ref().is_none_or(|(bytes, _)| bytes != page) {
                last = Some((*page, hash));
            }
            hashes.push(hash);
        }
        at += n;
    }
    Ok(hashes)
}

/// The contents of a plan's measured pages, hashed: for [`super::measure_snp_hashed`].
#[derive(Debug, Clone, Default)]
pub struct PlanHashes {
    runs: Vec<Vec<PageHash>>,
}

impl PlanHashes {
    /// Divides the measured pages of `plan` into pieces of at most `pages`: run, first page, count.
    pub fn pieces(plan: &LaunchPlan, pages: u64) -> Vec<(usize, u64, u64)> {
        let pages = pages.max(1);
        let measured = plan.pages.iter().enumerate().filter(|(_, r)| r.kind == PageKind::Measured);
        measured
            .flat_map(|(i, run)| {
                (0..run.pages.div_ceil(pages)).map(move |n| (i, n * pages, pages.min(run.pages - n * pages)))
            })
            .collect()
    }

    /// Takes the hashes of the next pages of run `run`: pieces of a run come in order.
    pub fn push(&mut self, run: usize, hashes: Vec<PageHash>) {
        if self.runs.len() <= run {
            self.runs.resize(run + 1, Vec::new());
        }
        self.runs[run].extend(hashes);
    }

    /// The hashes of run `run`, if all of them are there.
    pub(super) fn of(&self, index: usize, run: &PageRun) -> Option<&[PageHash]> {
        self.runs.get(index).map(Vec::as_slice).filter(|h| h.len() as u64 == run.pages)
    }
}
