//! SEV metadata: the memory that the firmware wants launched beside itself
//! (`OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm` of edk2).

use snafu::ensure;

use super::block::{block, distance};
use super::error::*;
use super::guid::known;
use super::image::Firmware;
use super::sections::{Place, Places};
use crate::bytes::u32_at;

const WHAT: &str = "SEV metadata";
/// Address, size, type: 32 bits each.
const SECTION: usize = 12;

/// What a section is for: an open number, as the firmware has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectionKind(pub u32);

impl SectionKind {
    /// Memory that the firmware uses before it can accept any.
    pub const SEC_MEM: Self = SectionKind(1);
    /// The SNP secrets page.
    pub const SECRETS: Self = SectionKind(2);
    /// The SNP CPUID page.
    pub const CPUID: Self = SectionKind(3);
    /// Calling area of an SVSM.
    pub const SVSM_CAA: Self = SectionKind(4);
    /// The table of kernel hashes.
    pub const KERNEL_HASHES: Self = SectionKind(0x10);

    /// Its name in edk2.
    pub fn name(self) -> &'static str {
        match self {
            Self::SEC_MEM => "SNP_SEC_MEM",
            Self::SECRETS => "SNP_SECRETS",
            Self::CPUID => "CPUID",
            Self::SVSM_CAA => "SVSM_CAA",
            Self::KERNEL_HASHES => "KERNEL_HASHES",
            _ => "unknown",
        }
    }
}

/// One section, its place checked; its size may be 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SevSection {
    /// Guest-physical address.
    pub gpa: u64,
    /// Bytes, whole pages.
    pub size: u64,
    /// What it is for.
    pub kind: SectionKind,
}

/// The block, its sections in the order of the file, which is the order of the launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SevMetadata {
    /// Offset of the block in the image.
    pub offset: usize,
    /// The sections.
    pub sections: Vec<SevSection>,
}

impl SevMetadata {
    pub(super) fn parse(firmware: &Firmware) -> Result<Option<Self>, FirmwareError> {
        let Some(at) =
            distance(firmware, &known::SEV_METADATA, known::name(&known::SEV_METADATA).unwrap_or(WHAT))?
        else {
            return Ok(None);
        };
        let block = block(firmware, at, WHAT, b"ASEV", SECTION)?;
        let mut places = Places::new(WHAT, firmware.base());
        let mut sections: Vec<SevSection> = Vec::with_capacity(block.entries.len());
        for (index, (offset, entry)) in block.entries.into_iter().enumerate() {
            let field = |n| u32_at(entry, n).unwrap_or(0);
            let (gpa, size, kind) = (u64::from(field(0)), u64::from(field(4)), SectionKind(field(8)));
            places.take(Place { index, offset, gpa, size })?;
            if matches!(kind, SectionKind::SECRETS | SectionKind::CPUID) {
                ensure!(size <= 4096, SectionOnePageSnafu { index, kind: kind.name(), offset, size });
            }
            let once = kind != SectionKind::KERNEL_HASHES || sections.iter().all(|s| s.kind != kind);
            ensure!(once, SectionTwiceSnafu { what: WHAT, index, offset, kind: kind.name() });
            sections.push(SevSection { gpa, size, kind });
        }
        Ok(Some(SevMetadata { offset: block.offset, sections }))
    }

    /// The section for kernel hashes, if it has a size.
    pub fn kernel_hashes(&self) -> Option<&SevSection> {
        self.sections.iter().find(|s| s.kind == SectionKind::KERNEL_HASHES && s.size > 0)
    }
}
