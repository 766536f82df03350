//! IGVM parameter metadata: where the firmware wants the parameters of an IGVM loader
//! (`OvmfPkg/ResetVector/X64/IgvmMetadata.asm` of edk2).

use super::block::{block, distance};
use super::error::*;
use super::guid::known;
use super::image::Firmware;
use crate::bytes::u32_at;

const WHAT: &str = "IGVM metadata";
/// Address or offset, size, id: 32 bits each.
const ENTRY: usize = 12;

/// What a parameter is: an open number, as the firmware has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterId(pub u32);

impl ParameterId {
    /// The page that the parameters lie in.
    pub const AREA: Self = ParameterId(0x100);
    /// The memory map; its address is an offset in the area.
    pub const MEMORY_MAP: Self = ParameterId(0x101);
    /// The number of vCPUs; its address is an offset in the area.
    pub const VP_COUNT: Self = ParameterId(0x102);
    /// The area for hand-off blocks.
    pub const HOB_AREA: Self = ParameterId(0x200);

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::AREA => "parameter area",
            Self::MEMORY_MAP => "memory map",
            Self::VP_COUNT => "VP count",
            Self::HOB_AREA => "HOB area",
            _ => "unknown",
        }
    }
}

/// One parameter. Its place is told, not used: loaders of IGVM files check it against the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IgvmParameter {
    /// Guest-physical address of an area, or offset in the parameter area.
    pub at: u32,
    /// Bytes.
    pub size: u32,
    /// What it is.
    pub id: ParameterId,
}

/// The block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgvmParameters {
    /// Offset of the block in the image.
    pub offset: usize,
    /// The parameters, in the order of the file.
    pub parameters: Vec<IgvmParameter>,
}

impl IgvmParameters {
    pub(super) fn parse(firmware: &Firmware) -> Result<Option<Self>, FirmwareError> {
        let Some(at) = distance(firmware, &known::IGVM_METADATA, "IGVM metadata offset")? else {
            return Ok(None);
        };
        let block = block(firmware, at, WHAT, b"IGVM", ENTRY)?;
        let mut parameters = Vec::with_capacity(block.entries.len());
        for (offset, entry) in block.entries {
            let field = |n| u32_at(entry, n).unwrap_or(0);
            let parameter = IgvmParameter { at: field(0), size: field(4), id: ParameterId(field(8)) };
            if parameter.at.checked_add(parameter.size).is_none() {
                let (gpa, size) = (parameter.at, parameter.size);
                return AreaSnafu { what: WHAT, offset, gpa, size, end: 1u64 << 32 }.fail();
            }
            parameters.push(parameter);
        }
        Ok(Some(IgvmParameters { offset: block.offset, parameters }))
    }
}
