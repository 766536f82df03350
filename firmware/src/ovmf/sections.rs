//! Checks on memory that metadata asks for.

use snafu::ensure;

use super::error::*;

/// The most memory that sections may ask for together. OVMF asks for less than 1 MiB beside itself.
pub(crate) const MAX_TOTAL: u64 = 256 << 20;
/// Bytes in a page.
const PAGE: u64 = 4096;

/// One section as its block describes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Its number in the block.
    pub(crate) index: usize,
    /// Offset of its entry in the image.
    pub(crate) offset: usize,
    /// Guest-physical address.
    pub(crate) gpa: u64,
    /// Bytes; may be 0.
    pub(crate) size: u64,
}

/// Checks sections one after the other: whole pages, an end, a sum, apart from each other.
pub(crate) struct Places {
    what: &'static str,
    end: u64,
    total: u64,
    taken: Vec<Place>,
}

impl Places {
    /// For the block `what`, whose sections end at or below `end`.
    pub(crate) fn new(what: &'static str, end: u64) -> Self {
        Places { what, end, total: 0, taken: Vec::new() }
    }

    /// Checks one more section. A section without size is nowhere.
    pub(crate) fn take(&mut self, place: Place) -> Result<(), FirmwareError> {
        let Place { index, offset, gpa, size } = place;
        let (what, end) = (self.what, self.end);
        let whole = gpa.is_multiple_of(PAGE) && size.is_multiple_of(PAGE);
        ensure!(whole, SectionPagesSnafu { what, index, offset, gpa, size });
        if size == 0 {
            return Ok(());
        }
        let inside = gpa.checked_add(size).is_some_and(|e| e <= end);
        ensure!(inside, SectionEndSnafu { what, index, offset, gpa, size, end });
        let total = self.total.saturating_add(size);
        let max = MAX_TOTAL;
        ensure!(total <= max, SectionsTooLargeSnafu { what, index, offset, size, total, max });
        let over = |t: &&Place| gpa < t.gpa.saturating_add(t.size) && t.gpa < gpa.saturating_add(size);
        if let Some(other) = self.taken.iter().find(over).map(|t| t.index) {
            return SectionsOverlapSnafu { what, index, offset, gpa, size, other }.fail();
        }
        self.total = total;
        self.taken.push(place);
        Ok(())
    }
}
