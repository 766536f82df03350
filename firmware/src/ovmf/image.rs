//! A firmware image and where it lies.

use std::sync::Arc;

use snafu::{ResultExt, ensure};

use super::error::*;
use super::guid::{Guid, known};
use super::igvm_params::IgvmParameters;
use super::sev::SevMetadata;
use super::table::{GuidEntry, GuidTable};
use crate::bytes::u32_at;
use crate::plan::ImageFile;

/// Where firmware ends: the reset vector lies 16 bytes below.
const FOUR_GIB: u64 = 1 << 32;
/// The largest image: below it are the local APIC (0xfee00000) and the I/O APIC.
pub const MAX_SIZE: u64 = 16 << 20;

/// An area in guest memory that the firmware names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    /// Guest-physical address.
    pub gpa: u32,
    /// Bytes.
    pub size: u32,
}

/// A firmware image: whole pages that end at 4 GiB, or wherever the launch has them end. What its table
/// leads to is read when it is asked for, so that an image which is wrong in one place can be used in
/// another.
#[derive(Debug, Clone)]
pub struct Firmware {
    bytes: Arc<[u8]>,
    end: u64,
    table: GuidTable,
}

impl Firmware {
    /// Reads `file`, once.
    pub fn read(file: &ImageFile) -> Result<Self, FirmwareError> {
        let len = file.len();
        ensure!(len <= MAX_SIZE, ImageSizeSnafu { len, max: MAX_SIZE });
        // Into the memory where it stays: a second copy would take as long as the read.
        let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, usize::try_from(len).unwrap_or(0)).collect();
        if let Some(bytes) = Arc::get_mut(&mut bytes) {
            file.read_at(0, bytes).context(FileSnafu)?;
        }
        Self::parse(bytes)
    }

    /// An image that ends at 4 GiB.
    pub fn parse(bytes: impl Into<Arc<[u8]>>) -> Result<Self, FirmwareError> {
        let bytes = bytes.into();
        let len = bytes.len() as u64;
        let whole = len > 0 && len <= MAX_SIZE && len.is_multiple_of(4096);
        ensure!(whole, ImageSizeSnafu { len, max: MAX_SIZE });
        let table = GuidTable::parse(&bytes)?;
        Ok(Firmware { bytes, end: FOUR_GIB, table })
    }

    /// The same image where it ends at `end`, a multiple of 4096: an SVSM lies below the firmware.
    pub fn ending_at(self, end: u64) -> Result<Self, FirmwareError> {
        let len = self.bytes.len() as u64;
        let fits = end >= len && end <= FOUR_GIB && end.is_multiple_of(4096);
        ensure!(fits, ImagePlaceSnafu { len, end });
        Ok(Firmware { end, ..self })
    }

    /// The whole image.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The whole image, shared.
    pub fn shared_bytes(&self) -> Arc<[u8]> {
        Arc::clone(&self.bytes)
    }

    /// Guest-physical address of its first byte.
    pub fn base(&self) -> u64 {
        self.end.saturating_sub(self.bytes.len() as u64)
    }

    /// Guest-physical address after its last byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The table of GUIDs; empty if the image has none.
    pub fn table(&self) -> &GuidTable {
        &self.table
    }

    /// Offset and data of an entry.
    pub fn entry(&self, guid: &Guid) -> Option<(usize, &[u8])> {
        self.table.find(guid).map(|e| (e.offset, self.data(e)))
    }

    /// The data of an entry of this image's table.
    pub fn data(&self, entry: &GuidEntry) -> &[u8] {
        let end = entry.offset.saturating_add(entry.len);
        self.bytes.get(entry.offset..end).unwrap_or_default()
    }

    /// Where vCPUs other than the first start: code segment base and instruction pointer in one.
    pub fn reset_eip(&self) -> Result<Option<u32>, FirmwareError> {
        let what = "SEV-ES reset block";
        self.entry(&known::RESET_BLOCK)
            .map(|(offset, data)| match (data.len(), u32_at(data, 0)) {
                (4, Some(eip)) => Ok(eip),
                (found, _) => EntryDataSnafu { what, offset, found, wanted: 4usize }.fail(),
            })
            .transpose()
    }

    /// Where the firmware looks for a launch secret; size 0 if it has no place for one.
    pub fn secret_area(&self) -> Result<Option<Area>, FirmwareError> {
        self.area(&known::SECRET_BLOCK, "SEV secret block")
    }

    /// Where the firmware looks for the table of kernel hashes; size 0 if it does not look.
    pub fn hash_area(&self) -> Result<Option<Area>, FirmwareError> {
        self.area(&known::HASH_BLOCK, "SEV hash table block")
    }

    /// What has to be launched beside the image under SEV.
    pub fn sev_metadata(&self) -> Result<Option<SevMetadata>, FirmwareError> {
        SevMetadata::parse(self)
    }

    /// Where the firmware looks for the parameters of an IGVM loader.
    pub fn igvm_parameters(&self) -> Result<Option<IgvmParameters>, FirmwareError> {
        IgvmParameters::parse(self)
    }

    /// The entry point of an SVSM, if this is one.
    pub fn svsm_entry(&self) -> Result<Option<u64>, FirmwareError> {
        let what = "SVSM info";
        let Some((offset, data)) = self.entry(&known::SVSM_INFO) else { return Ok(None) };
        match (data.len(), u32_at(data, 0)) {
            (4, Some(at)) if usize::try_from(at).is_ok_and(|at| at < self.bytes.len()) => {
                Ok(Some(self.base().saturating_add(u64::from(at))))
            }
            (4, Some(found)) => {
                let max = self.bytes.len();
                MetadataOffsetSnafu { what, offset, found, min: 0usize, max }.fail()
            }
            (found, _) => EntryDataSnafu { what, offset, found, wanted: 4usize }.fail(),
        }
    }

    fn area(&self, guid: &Guid, what: &'static str) -> Result<Option<Area>, FirmwareError> {
        let Some((offset, data)) = self.entry(guid) else { return Ok(None) };
        let (gpa, size) = match (data.len(), u32_at(data, 0), u32_at(data, 4)) {
            (8, Some(gpa), Some(size)) => (gpa, size),
            (found, ..) => return EntryDataSnafu { what, offset, found, wanted: 8usize }.fail(),
        };
        let end = FOUR_GIB;
        let inside = u64::from(gpa).saturating_add(u64::from(size)) <= end;
        ensure!(inside, AreaSnafu { what, offset, gpa, size, end });
        Ok(Some(Area { gpa, size }))
    }
}
