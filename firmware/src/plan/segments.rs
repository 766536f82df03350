//! ELF segments as runs of pages.

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

use snafu::{ResultExt, ensure};

use super::error::*;
use super::{GuestLayout, ImageFile, PageKind, PageRun, PlanError, Source, low};
use crate::linux::elf::Segment;

const PAGE: u64 = PageRun::PAGE_SIZE as u64;

/// A segment whose place in low RAM was checked, split at the page where its file bytes end.
pub(super) struct Placed<'a> {
    segment: &'a Segment,
    image: &'a ImageFile,
    /// Bytes of the first page that lie before the segment.
    lead: u64,
}

impl<'a> Placed<'a> {
    /// Checks that `segment` can be loaded in whole pages: at or above 1 MiB, in low RAM, and in its
    /// first page where it lies in the file's page.
    pub(super) fn check(
        segment: &'a Segment,
        image: &'a ImageFile,
        layout: &GuestLayout,
        label: &'static str,
    ) -> Result<Self, PlanError> {
        let (path, address) = (image.path(), segment.physical_address);
        ensure!(address >= low::ONE_MIB, SegmentTooLowSnafu { path, address });
        let in_low_ram = address.saturating_add(segment.memory_size) <= layout.low_ram_end();
        ensure!(in_low_ram, OutsideRamSnafu { label, gpa: address, size: segment.memory_size });
        let lead = address % PAGE;
        let congruent = segment.file_size == 0 || segment.offset % PAGE == lead;
        ensure!(congruent, SegmentAlignmentSnafu { path, address, offset: segment.offset });
        Ok(Placed { segment, image, lead })
    }

    /// First page.
    pub(super) fn gpa(&self) -> u64 {
        self.segment.physical_address.saturating_sub(self.lead)
    }

    /// Address after the last byte in memory.
    pub(super) fn end(&self) -> u64 {
        self.segment.physical_address.saturating_add(self.segment.memory_size)
    }

    /// Pages up to the last byte in memory.
    pub(super) fn memory_pages(&self) -> u64 {
        self.segment.memory_size.saturating_add(self.lead).div_ceil(PAGE)
    }

    /// Pages up to the last byte from the file.
    pub(super) fn file_pages(&self) -> u64 {
        match self.segment.file_size {
            0 => 0,
            size => size.saturating_add(self.lead).div_ceil(PAGE),
        }
    }

    /// The first `pages` pages, measured. What shares the first page with the segment in the file comes
    /// with it, as it does where files are mapped; what the file does not fill is zero.
    pub(super) fn run(&self, pages: u64, label: &'static str) -> Result<PageRun, PlanError> {
        let s = self.segment;
        let source = match s.file_size {
            0 => Source::Zero,
            // The offset is at least `lead`: they are congruent.
            size => self
                .image
                .source(s.offset.saturating_sub(self.lead), size.saturating_add(self.lead))
                .context(ImageSnafu { what: label })?,
        };
        Ok(PageRun { gpa: self.gpa(), pages, kind: PageKind::Measured, source, label })
    }
}
