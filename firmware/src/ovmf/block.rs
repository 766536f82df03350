//! What the metadata blocks have in common: found by their distance from the end of the image, and
//! headed by signature, length, version and number of entries.

use snafu::ensure;

use super::error::*;
use super::guid::Guid;
use super::image::Firmware;
use crate::bytes::{bytes_at, u32_at};

/// Signature, length, version, number of entries: 32 bits each.
const HEADER: usize = 16;

/// The most entries that a block may have. OVMF has less than ten.
const MAX_ENTRIES: u32 = 1024;

/// A block whose header was checked.
pub(crate) struct Block<'a> {
    /// Offset of the block in the image.
    pub(crate) offset: usize,
    /// Its entries, each of the length that was asked for, with their offsets in the image.
    pub(crate) entries: Vec<(usize, &'a [u8])>,
}

/// The distance from the end of the image that the entry `guid` holds.
pub(crate) fn distance(
    firmware: &Firmware,
    guid: &Guid,
    what: &'static str,
) -> Result<Option<(usize, u32)>, FirmwareError> {
    let Some((offset, data)) = firmware.entry(guid) else { return Ok(None) };
    match (data.len(), u32_at(data, 0)) {
        (4, Some(found)) => Ok(Some((offset, found))),
        (found, _) => EntryDataSnafu { what, offset, found, wanted: 4usize }.fail(),
    }
}

/// The block `found` bytes before the end of the image; `at` is where that number was read.
pub(crate) fn block<'a>(
    firmware: &'a Firmware,
    (at, found): (usize, u32),
    what: &'static str,
    signature: &[u8; 4],
    entry: usize,
) -> Result<Block<'a>, FirmwareError> {
    let image = firmware.bytes();
    let max = image.len();
    let outside = MetadataOffsetSnafu { what, offset: at, found, min: HEADER, max };
    let offset = max.checked_sub(found as usize).filter(|_| found as usize >= HEADER);
    let Some(offset) = offset else { return outside.fail() };
    let field = |n: usize| u32_at(image, offset.saturating_add(n)).unwrap_or(0);
    let tag = bytes_at(image, offset).unwrap_or([0; 4]);
    ensure!(tag == *signature, SignatureSnafu { what, offset, found: tag, wanted: *signature });
    let (length, version, count) = (field(4), field(8), field(12));
    ensure!(version == 1, VersionSnafu { what, offset, found: version });
    ensure!(count <= MAX_ENTRIES, EntriesSnafu { what, offset, found: count, max: MAX_ENTRIES });
    let wanted = entry.checked_mul(count as usize).and_then(|n| n.checked_add(HEADER));
    let left = max.saturating_sub(offset);
    let fits = wanted == Some(length as usize) && length as usize <= left;
    ensure!(fits, BlockLengthSnafu { what, offset, found: length, count, entry, max: left });
    let first = offset.saturating_add(HEADER);
    let all = image.get(first..offset.saturating_add(length as usize)).unwrap_or_default();
    let entries = (first..).step_by(entry.max(1)).zip(all.chunks_exact(entry.max(1))).collect();
    Ok(Block { offset, entries })
}
