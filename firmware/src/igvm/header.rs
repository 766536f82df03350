//! The fixed header, and the checksum over all headers.

use snafu::{OptionExt, ResultExt, ensure};

use super::defs::{ARCHITECTURE_X64, ENTRY_HEAD, FIXED_V1, FIXED_V2, MAGIC, MAX_HEADER_BYTES, PAGE};
use super::error::*;
use crate::plan::ImageFile;

/// What the fixed header says, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedHeader {
    /// Format version, 1 or 2.
    pub version: u32,
    /// Where the variable headers are in the file.
    pub headers_at: u64,
    /// Their bytes.
    pub headers_len: u64,
    /// Bytes of the file.
    pub file_len: u64,
    /// CRC-32 over the headers.
    pub checksum: u32,
}

impl FixedHeader {
    /// Where the file's data begins.
    pub fn data_at(&self) -> u64 {
        self.headers_at.saturating_add(self.headers_len)
    }
}

/// Reads the fixed header and the variable headers of `image`, checked as far as they can be without
/// looking into the latter.
pub(super) fn read(image: &ImageFile) -> Result<(FixedHeader, Vec<u8>), IgvmError> {
    let file_len = image.len();
    let mut fixed = [0; FIXED_V2 as usize];
    ensure!(file_len >= FIXED_V1, TooShortSnafu { found: file_len, wanted: FIXED_V1 });
    let (v1, v2) = fixed.split_at_mut(FIXED_V1 as usize);
    image.read_at(0, v1).context(FileSnafu)?;
    let word = |bytes: &[u8], at: usize| {
        bytes.get(at..).and_then(<[u8]>::first_chunk).map(|b| u32::from_le_bytes(*b))
    };
    let short = |wanted| TooShortSnafu { found: file_len, wanted };
    let field = |bytes: &[u8], at| word(bytes, at).context(short(FIXED_V1));

    let found = field(v1, 0)?;
    ensure!(found == MAGIC, MagicSnafu { found });
    let version = field(v1, 4)?;
    let fixed_len = match version {
        1 => FIXED_V1,
        2 => FIXED_V2,
        found => return VersionSnafu { found }.fail(),
    };
    if version == 2 {
        ensure!(file_len >= FIXED_V2, short(FIXED_V2));
        image.read_at(FIXED_V1, v2).context(FileSnafu)?;
        let found = field(v2, 0)?;
        ensure!(found == ARCHITECTURE_X64, ArchitectureSnafu { found });
        let found = field(v2, 4)?;
        ensure!(u64::from(found) == PAGE, PageSizeSnafu { found });
    }
    let (at, len, total, checksum) = (field(v1, 8)?, field(v1, 12)?, field(v1, 16)?, field(v1, 20)?);
    ensure!(u64::from(total) == file_len, TotalSizeSnafu { found: file_len, wanted: total });
    let at_fits = at.is_multiple_of(ENTRY_HEAD as u32) && u64::from(at) >= fixed_len;
    ensure!(at_fits, HeaderOffsetSnafu { found: at, wanted: fixed_len });
    ensure!(len <= MAX_HEADER_BYTES, HeadersTooLongSnafu { found: len, wanted: MAX_HEADER_BYTES });
    let end = u64::from(at).saturating_add(u64::from(len));
    let len_fits = len.is_multiple_of(ENTRY_HEAD as u32) && end <= file_len;
    ensure!(len_fits, HeaderSizeSnafu { found: len, offset: at, file: file_len });

    // Both were just checked: no more is allocated than the file has, and than we allow.
    let mut headers = vec![0; len as usize];
    if len > 0 {
        image.read_at(u64::from(at), &mut headers).context(FileSnafu)?;
    }
    let mut sum = crc32fast::Hasher::new();
    // The checksum's own field, the last of version 1, counts as zero.
    sum.update(v1.get(..20).unwrap_or_default());
    sum.update(&[0; 4]);
    if version == 2 {
        sum.update(v2);
    }
    sum.update(&headers);
    let wanted = sum.finalize();
    ensure!(checksum == wanted, ChecksumSnafu { found: checksum, wanted });
    let fixed = FixedHeader { version, headers_at: at.into(), headers_len: len.into(), file_len, checksum };
    Ok((fixed, headers))
}
