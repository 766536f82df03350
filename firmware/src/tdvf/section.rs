//! One section of the descriptor.

use snafu::ensure;

use super::error::*;
use crate::bytes::{u32_at, u64_at};

/// What a section is: an open number, as the firmware has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectionType(pub u32);

impl SectionType {
    /// Boot firmware volume: code.
    pub const BFV: Self = SectionType(0);
    /// Configuration firmware volume: variables.
    pub const CFV: Self = SectionType(1);
    /// Where the VMM puts the hand-off blocks.
    pub const TD_HOB: Self = SectionType(2);
    /// Memory that is zero.
    pub const TEMP_MEM: Self = SectionType(3);

    /// Its name in the design guide; types from 4 on are td-shim's.
    pub fn name(self) -> &'static str {
        match self.0 {
            0 => "BFV",
            1 => "CFV",
            2 => "TD_HOB",
            3 => "TempMem",
            4 => "PermMem",
            5 => "Payload",
            6 => "PayloadParam",
            7 => "TdInfo",
            _ => "unknown",
        }
    }
}

/// A section's flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes(pub u32);

impl Attributes {
    /// Its contents are measured.
    pub const MR_EXTEND: u32 = 1;
    /// It is not added before the launch, but accepted by the guest (td-shim).
    pub const PAGE_AUG: u32 = 2;

    /// Whether the contents are measured.
    pub fn is_measured(self) -> bool {
        self.0 & Self::MR_EXTEND != 0
    }

    /// Whether the section is left to the guest to accept.
    pub fn is_augmented(self) -> bool {
        self.0 & Self::PAGE_AUG != 0
    }
}

/// One section, its place in the file and in memory checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TdvfSection {
    /// Offset of its bytes in the file.
    pub data_offset: u32,
    /// Number of bytes in the file.
    pub data_size: u32,
    /// Guest-physical address.
    pub gpa: u64,
    /// Bytes of memory, whole pages; what the file does not fill is zero.
    pub size: u64,
    /// What it is.
    pub kind: SectionType,
    /// Its flags.
    pub attributes: Attributes,
}

impl TdvfSection {
    pub(super) fn parse(index: usize, offset: usize, entry: &[u8], image: usize) -> Result<Self, TdvfError> {
        let u32_of = |at| u32_at(entry, at).unwrap_or(0);
        let u64_of = |at| u64_at(entry, at).unwrap_or(0);
        let section = TdvfSection {
            data_offset: u32_of(0),
            data_size: u32_of(4),
            gpa: u64_of(8),
            size: u64_of(16),
            kind: SectionType(u32_of(24)),
            attributes: Attributes(u32_of(28)),
        };
        let TdvfSection { data_offset, data_size, size, kind, attributes, .. } = section;
        let name = kind.name();
        ensure!(kind.0 <= 7, KindSnafu { index, offset, found: kind.0 });
        let known = attributes.0 & !(Attributes::MR_EXTEND | Attributes::PAGE_AUG) == 0;
        ensure!(known, AttributesSnafu { index, name, offset, found: attributes.0 });
        let from_file = match kind {
            SectionType::BFV | SectionType::CFV => Some(true),
            SectionType::TD_HOB | SectionType::TEMP_MEM => Some(false),
            _ => None,
        };
        let right = from_file.is_none_or(|wanted| wanted == (data_size > 0));
        let wanted = if from_file == Some(true) { "some" } else { "none" };
        ensure!(right, DataSnafu { index, name, offset, found: data_size, wanted });
        ensure!(u64::from(data_size) <= size, MemorySnafu { index, name, offset, data: data_size, size });
        let end = (data_offset as usize).saturating_add(data_size as usize);
        ensure!(end <= image, FileEndSnafu { index, name, offset, start: data_offset, end, max: image });
        Ok(section)
    }
}
