//! The table of GUIDs, walked from its footer backwards
//! (`OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm` of edk2, and QEMU's `pc_sysfw_ovmf.c`).

use snafu::ensure;

use super::error::*;
use super::guid::{Guid, known};
use crate::bytes::u16_at;

/// Bytes from the end of the image to the end of the table: the reset vector.
const AFTER_TABLE: usize = 0x20;
/// Length and GUID, at the end of every entry.
const ENTRY_TAIL: usize = 18;
/// The one block that images from before the table have there: address, length, GUID.
const LEGACY_RESET_BLOCK: usize = 22;

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuidEntry {
    /// What it is.
    pub guid: Guid,
    /// Offset of its first byte of data in the image.
    pub offset: usize,
    /// Bytes of data, without the length and GUID behind them.
    pub len: usize,
}

/// All entries, in the order they are found: from the footer backwards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuidTable {
    /// The entries.
    pub entries: Vec<GuidEntry>,
    /// Whether this is no table, but the lone reset block of an image from before there was one.
    pub legacy: bool,
}

impl GuidTable {
    /// Reads the table of `image`. An image that has none has an empty one.
    pub(super) fn parse(image: &[u8]) -> Result<Self, FirmwareError> {
        let Some(end) = image.len().checked_sub(AFTER_TABLE) else { return Ok(Self::default()) };
        let Some((guid, len, tail)) = tail_before(image, end) else { return Ok(Self::default()) };
        if guid == known::RESET_BLOCK && len == LEGACY_RESET_BLOCK {
            let offset = tail.saturating_sub(LEGACY_RESET_BLOCK.saturating_sub(ENTRY_TAIL));
            let entry = GuidEntry { guid, offset, len: tail.saturating_sub(offset) };
            return Ok(GuidTable { entries: vec![entry], legacy: true });
        }
        if guid != known::TABLE_FOOTER {
            return Ok(Self::default());
        }
        let possible = (ENTRY_TAIL..=end).contains(&len);
        ensure!(possible, TableLengthSnafu { offset: tail, found: len, max: end });
        let start = end.saturating_sub(len);
        let mut table = GuidTable::default();
        let mut at = tail;
        while at > start {
            let left = at.saturating_sub(start);
            let entry = match tail_before(image, at) {
                Some(entry) if left >= ENTRY_TAIL => entry,
                _ => return TableRestSnafu { offset: start, left }.fail(),
            };
            let (guid, found, tail) = entry;
            let possible = (ENTRY_TAIL..=left).contains(&found);
            ensure!(possible, EntryLengthSnafu { guid, offset: at, found, max: left });
            let offset = at.saturating_sub(found);
            ensure!(table.find(&guid).is_none(), EntryTwiceSnafu { guid, offset });
            table.entries.push(GuidEntry { guid, offset, len: tail.saturating_sub(offset) });
            at = offset;
        }
        Ok(table)
    }

    /// The entry with this GUID.
    pub fn find(&self, guid: &Guid) -> Option<&GuidEntry> {
        self.entries.iter().find(|e| e.guid == *guid)
    }
}

/// GUID and length of the entry that ends at `end`, and where they begin.
fn tail_before(image: &[u8], end: usize) -> Option<(Guid, usize, usize)> {
    let tail = end.checked_sub(ENTRY_TAIL)?;
    let len = u16_at(image, tail)?;
    Some((Guid::at(image, tail.checked_add(2)?)?, usize::from(len), tail))
}
