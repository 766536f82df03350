//! MRTD: SHA-384 over a record for every page that is added to a TD, and for every 256 bytes that are
//! measured (Intel TDX module base specification, TDH.MEM.PAGE.ADD and TDH.MR.EXTEND).

use sha2::{Digest, Sha384};
use snafu::ResultExt;

use super::snp::{MeasureError, ReadSnafu, check_run};
use super::stages::{Digest384, Measurement, Stage};
use crate::plan::{LaunchPlan, PageKind, PageRun};

/// Bytes in a record: name, address, zeros.
const RECORD: usize = 128;
/// Bytes that one extension covers.
const EXTENT: usize = 256;
/// Pages that are read at once.
const CHUNK: u64 = 64;

/// In which order a launcher adds and measures the pages of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Passes {
    /// Each page is measured as it is added: KVM since Linux 6.16, and so we and QEMU since 10.1.
    #[default]
    Single,
    /// All pages of a section are added, then all are measured: Intel's and Ubuntu's older stacks.
    Two,
}

/// MRTD while pages are added.
#[derive(Debug, Clone, Default)]
pub struct MrtdDigest {
    hasher: Sha384,
}

impl MrtdDigest {
    /// MRTD of a TD without pages.
    pub fn new() -> Self {
        Self::default()
    }

    /// A page is added.
    pub fn add(&mut self, gpa: u64) {
        self.record(b"MEM.PAGE.ADD", gpa);
    }

    /// The contents of a page that was added are measured.
    pub fn extend(&mut self, gpa: u64, page: &[u8; PageRun::PAGE_SIZE]) {
        for (n, bytes) in (0u64..).zip(page.as_chunks::<EXTENT>().0) {
            self.record(b"MR.EXTEND", gpa + n * EXTENT as u64);
            self.hasher.update(bytes);
        }
    }

    /// The value so far.
    pub fn value(&self) -> Digest384 {
        Digest384(self.hasher.clone().finalize().into())
    }

    fn record(&mut self, name: &[u8], gpa: u64) {
        let mut record = [0; RECORD];
        record[..name.len()].copy_from_slice(name);
        record[16..24].copy_from_slice(&gpa.to_le_bytes());
        self.hasher.update(record);
    }

    pub(super) fn run(&mut self, run: &PageRun, passes: Passes) -> Result<(), MeasureError> {
        check_run(run)?;
        let gpa = |page: u64| run.gpa + page * PageRun::PAGE_SIZE as u64;
        let measured = run.kind == PageKind::Measured;
        if !measured || passes == Passes::Two {
            (0..run.pages).for_each(|page| self.add(gpa(page)));
        }
        if !measured {
            return Ok(());
        }
        let mut buffer = vec![0; CHUNK.min(run.pages) as usize * PageRun::PAGE_SIZE];
        for first in (0..run.pages).step_by(CHUNK as usize) {
            let n = CHUNK.min(run.pages - first) as usize;
            let piece = &mut buffer[..n * PageRun::PAGE_SIZE];
            run.read(first * PageRun::PAGE_SIZE as u64, piece).context(ReadSnafu { label: run.label })?;
            for (page, bytes) in (first..).zip(piece.as_chunks::<{ PageRun::PAGE_SIZE }>().0) {
                if passes == Passes::Single {
                    self.add(gpa(page));
                }
                self.extend(gpa(page), bytes);
            }
        }
        Ok(())
    }
}

/// MRTD of a plan. Every run is a [`Stage`]; vCPUs are not measured.
pub fn measure_tdx(plan: &LaunchPlan, passes: Passes) -> Result<Measurement, MeasureError> {
    let mut digest = MrtdDigest::new();
    let mut stages = Vec::with_capacity(plan.pages.len());
    for run in plan.pages.iter().filter(|r| r.kind != PageKind::Shared) {
        digest.run(run, passes)?;
        stages.push(Stage {
            label: run.label.to_owned(),
            gpa: run.gpa,
            pages: run.pages,
            digest_after: digest.value(),
        });
    }
    Ok(Measurement { digest: digest.value(), stages })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_pages_match_the_vectors() {
        let nothing = MrtdDigest::new();
        assert_eq!(
            nothing.value().to_string(),
            "38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b"
        );
        let mut added = MrtdDigest::new();
        added.add(0x1000);
        assert_eq!(
            added.value().to_string(),
            "fcdabf6fdf38b87d2e3a89b1ab68c242abb261dffa70ef6f1dc2220c2752d2729cdf1be92afc2e0e4297f04e2b629552"
        );
        let mut extended = MrtdDigest::new();
        extended.add(0);
        extended.extend(0, &[0; 4096]);
        assert_eq!(
            extended.value().to_string(),
            "236f0efa607ff8843f1855d7ef80dc3dda8fb455787a186b8787212951eab0096e3193bb26f817c2b63c21f5e10f9938"
        );
    }
}
