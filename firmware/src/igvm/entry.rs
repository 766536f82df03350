//! Variable headers one after the other, and the fields of one.

use snafu::{OptionExt, ensure};

use super::defs::{ADDRESS_END, ENTRY_HEAD, OPTIONAL, PAGE, kind_name};
use super::error::*;
use super::header::FixedHeader;

/// One variable header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    /// Type without the optional bit.
    pub(super) kind: u32,
    /// Whether a loader may pass over it.
    pub(super) optional: bool,
    /// Where it is in the file.
    pub(super) offset: u64,
    payload: &'a [u8],
    fixed: &'a FixedHeader,
}

/// Takes the area of the variable headers apart.
pub(super) struct Entries<'a> {
    rest: &'a [u8],
    offset: u64,
    fixed: &'a FixedHeader,
}

impl<'a> Entries<'a> {
    pub(super) fn new(fixed: &'a FixedHeader, headers: &'a [u8]) -> Self {
        Entries { rest: headers, offset: fixed.headers_at, fixed }
    }

    /// The next one, or `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Entry<'a>>, IgvmError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let offset = self.offset;
        let found = self.rest.len() as u64;
        let truncated = |name: String, wanted| TruncatedSnafu { name, offset, found, wanted };
        let head = self.rest.first_chunk::<ENTRY_HEAD>();
        let [t0, t1, t2, t3, l0, l1, l2, l3] =
            *head.context(truncated("a variable header".to_owned(), ENTRY_HEAD as u64))?;
        let raw = u32::from_le_bytes([t0, t1, t2, t3]);
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        let kind = raw & !OPTIONAL;
        let name = || kind_name(kind).map_or_else(|| format!("a header of type {kind:#x}"), str::to_owned);

        let wanted = u64::from(len).next_multiple_of(ENTRY_HEAD as u64).saturating_add(ENTRY_HEAD as u64);
        let step = usize::try_from(wanted).unwrap_or(usize::MAX);
        let (entry, rest) = self.rest.split_at_checked(step).with_context(|| truncated(name(), wanted))?;
        let body = entry.get(ENTRY_HEAD..).unwrap_or_default();
        let (payload, padding) =
            body.split_at_checked(len as usize).with_context(|| truncated(name(), wanted))?;
        if let Some(&found) = padding.iter().find(|&&b| b != 0) {
            return PaddingSnafu { name: name(), offset, found }.fail();
        }
        self.rest = rest;
        self.offset = offset.saturating_add(wanted);
        Ok(Some(Entry { kind, optional: raw & OPTIONAL != 0, offset, payload, fixed: self.fixed }))
    }
}

impl Entry<'_> {
    /// Its name for errors about known types.
    pub(super) fn name(&self) -> &'static str {
        kind_name(self.kind).unwrap_or("variable header")
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.payload.len()).unwrap_or(u32::MAX)
    }

    /// Refuses another length than `wanted`. The field readers below rely on it.
    pub(super) fn sized(&self, wanted: usize) -> Result<(), IgvmError> {
        let Entry { offset, .. } = *self;
        let fits = self.payload.len() == wanted;
        ensure!(fits, LengthSnafu { name: self.name(), offset, found: self.len(), wanted });
        Ok(())
    }

    /// The bytes at `at`; zeros outside, which a caller of [`Entry::sized`] never sees.
    pub(super) fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        self.payload.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
    }

    pub(super) fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.bytes(at))
    }

    pub(super) fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }

    pub(super) fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes(at))
    }

    /// Refuses anything but zero in a reserved field.
    pub(super) fn zero(&self, field: &'static str, found: impl Into<u64>) -> Result<(), IgvmError> {
        let (found, offset) = (found.into(), self.offset);
        ensure!(found == 0, ReservedSnafu { name: self.name(), offset, field, found });
        Ok(())
    }

    /// Refuses what is not made of whole pages.
    pub(super) fn aligned(&self, field: &'static str, found: u64) -> Result<u64, IgvmError> {
        let offset = self.offset;
        ensure!(found.is_multiple_of(PAGE), UnalignedSnafu { name: self.name(), offset, field, found });
        Ok(found)
    }

    /// An address on a page, with `size` bytes that end where addresses do at the latest.
    pub(super) fn pages(&self, found: u64, size: u64) -> Result<u64, IgvmError> {
        self.aligned("gpa", found)?;
        let fits = found.checked_add(size).is_some_and(|end| end <= ADDRESS_END);
        ensure!(fits, AddressSnafu { name: self.name(), offset: self.offset, found, size });
        Ok(found)
    }

    /// The place of `len` bytes in the file's data.
    pub(super) fn data(&self, at: u32, len: u64) -> Result<u64, IgvmError> {
        let (found, data, end) = (u64::from(at), self.fixed.data_at(), self.fixed.file_len);
        let inside = found >= data && found.checked_add(len).is_some_and(|to| to <= end);
        let error = DataRangeSnafu { name: self.name(), offset: self.offset, found, len, data, end };
        ensure!(inside, error);
        Ok(found)
    }

    /// Like [`Entry::data`], where 0 means that there is none.
    pub(super) fn optional_data(&self, at: u32, len: u64) -> Result<Option<u64>, IgvmError> {
        if at == 0 { Ok(None) } else { self.data(at, len).map(Some) }
    }
}
