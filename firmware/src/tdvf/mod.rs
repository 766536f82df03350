//! TDVF: what a firmware image wants loaded into a TD (Intel TDX Virtual Firmware design guide, chapter
//! 11; `OvmfPkg/ResetVector/X64/IntelTdxMetadata.asm` of edk2).

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

mod error;
mod hob;
mod section;

pub use error::TdvfError;
pub(crate) use error::{NotForTdxSnafu, TdShimSnafu};
pub use hob::{END_HOB_LEN, td_hob};
pub use section::{Attributes, SectionType, TdvfSection};

use snafu::{ResultExt, ensure};

use crate::bytes::u32_at;
use crate::ovmf::block::{block, distance};
use crate::ovmf::sections::{Place, Places};
use crate::ovmf::{Firmware, Guid, known};
use error::*;

const WHAT: &str = "TDVF metadata";
/// The GUID right before the descriptor.
const DESCRIPTOR: Guid = Guid::new(0xe9eaf9f3_168e_44d5_a8eb_7f4d8738f6ae);
/// Bytes of that GUID.
const GUID_LEN: usize = 16;
/// Where images without a table have the descriptor's distance from the end, from the end.
const FALLBACK: usize = 0x20;
/// Bytes in a section's entry.
const SECTION: usize = 32;

/// The descriptor, its sections in the order of the file, which is the order of the launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tdvf {
    /// Offset of the descriptor in the image.
    pub offset: usize,
    /// The sections.
    pub sections: Vec<TdvfSection>,
}

impl Tdvf {
    /// Reads the metadata of `firmware`; `None` if it is not built for TDX.
    pub fn parse(firmware: &Firmware) -> Result<Option<Self>, TdvfError> {
        let Some(at) = locate(firmware)? else { return Ok(None) };
        let block = block(firmware, at, WHAT, b"TDVF", SECTION).context(BlockSnafu)?;
        let offset = block.offset;
        let guid = offset.checked_sub(GUID_LEN).and_then(|at| Guid::at(firmware.bytes(), at));
        ensure!(guid == Some(DESCRIPTOR), GuidSnafu { offset, found: guid, wanted: DESCRIPTOR });
        let mut places = Places::new(WHAT, firmware.end());
        let mut sections: Vec<TdvfSection> = Vec::with_capacity(block.entries.len());
        for (index, (offset, entry)) in block.entries.into_iter().enumerate() {
            let section = TdvfSection::parse(index, offset, entry, firmware.bytes().len())?;
            let (gpa, size) = (section.gpa, section.size);
            places.take(Place { index, offset, gpa, size }).context(BlockSnafu)?;
            sections.push(section);
        }
        let count = |kind| sections.iter().filter(|s| s.kind == kind).count();
        let hobs = count(SectionType::TD_HOB);
        ensure!(hobs == 1, HobCountSnafu { offset, found: hobs });
        ensure!(count(SectionType::BFV) > 0, NoBootVolumeSnafu { offset });
        Ok(Some(Tdvf { offset, sections }))
    }

    /// Where the hand-off blocks go. Every descriptor has exactly one such section.
    pub fn hob(&self) -> Option<&TdvfSection> {
        self.sections.iter().find(|s| s.kind == SectionType::TD_HOB)
    }

    /// The volume of variables that the firmware measures itself.
    pub fn configuration(&self) -> Option<&TdvfSection> {
        self.sections.iter().find(|s| s.kind == SectionType::CFV)
    }
}

/// By the table; in its absence, by the number in the reset vector, if a descriptor is there.
fn locate(firmware: &Firmware) -> Result<Option<(usize, u32)>, TdvfError> {
    if let Some(at) = distance(firmware, &known::TDX_METADATA, "TDX metadata offset").context(BlockSnafu)? {
        return Ok(Some(at));
    }
    let image = firmware.bytes();
    let at = image.len().saturating_sub(FALLBACK);
    let found = u32_at(image, at).unwrap_or(0);
    let guid = image
        .len()
        .checked_sub(found as usize)
        .and_then(|descriptor| descriptor.checked_sub(GUID_LEN))
        .and_then(|guid| Guid::at(image, guid));
    Ok((guid == Some(DESCRIPTOR)).then_some((at, found)))
}

#[cfg(test)]
mod tests;
