//! What a loader writes into parameter areas. Nothing of it is measured: a guest must not trust it.

use snafu::OptionExt;

use super::IgvmPlanError;
use super::error::*;
use crate::igvm::ParameterKind;
use crate::plan::{GuestLayout, MemoryRange};

/// What this guest's parameters are.
#[derive(Debug, Clone)]
pub(crate) struct Values<'a> {
    pub(super) vcpus: u32,
    pub(super) layout: &'a GuestLayout,
    pub(super) cmdline: &'a str,
    pub(super) madt: Option<&'a [u8]>,
    /// Memory that was not launched is the host's until the guest takes it.
    pub(super) memory_is_shared: bool,
}

/// Entry type of RAM in a memory map (`MemoryMapEntryType::MEMORY`).
const MEMORY: u16 = 0;
/// Bit of the environment information.
const MEMORY_IS_SHARED: u32 = 1;

impl Values<'_> {
    /// Writes one parameter into its area; `offset` is that of its header.
    pub(super) fn write(
        &self,
        kind: ParameterKind,
        offset: u64,
        at: u32,
        area: &mut [u8],
    ) -> Result<(), IgvmPlanError> {
        let name = kind.name();
        let value =
            self.value(kind).map_or_else(|advice| NoParameterSnafu { name, offset, advice }.fail(), Ok)?;
        if kind == ParameterKind::COMMAND_LINE
            && let Some(at) = self.cmdline.bytes().position(|b| b == 0)
        {
            return CmdlineNulSnafu { at }.fail();
        }
        let room = area.get_mut(at as usize..).unwrap_or_default();
        let (found, wanted) = (room.len(), value.len());
        let too_long = ParameterTooLongSnafu { name, offset, found, wanted };
        room.get_mut(..wanted).context(too_long)?.copy_from_slice(&value);
        if kind == ParameterKind::MEMORY_MAP {
            // An entry of no pages ends the map, where there is room for one.
            let end = wanted.saturating_add(24);
            if let Some(end) = room.get_mut(wanted..end) {
                end.fill(0);
            }
        }
        Ok(())
    }

    /// The bytes of a parameter, or what to do if there are none.
    fn value(&self, kind: ParameterKind) -> Result<Vec<u8>, &'static str> {
        const REBUILD: &str = "Build the file without it";
        Ok(match kind {
            ParameterKind::VP_COUNT => self.vcpus.to_le_bytes().to_vec(),
            ParameterKind::ENVIRONMENT_INFO => {
                let info = if self.memory_is_shared { MEMORY_IS_SHARED } else { 0 };
                info.to_le_bytes().to_vec()
            }
            ParameterKind::MEMORY_MAP => self.layout.ram.iter().flat_map(entry).collect(),
            ParameterKind::COMMAND_LINE => [self.cmdline.as_bytes(), &[0]].concat(),
            ParameterKind::MMIO_RANGES => {
                let pci = page_range(&GuestLayout::PCI_MMIO);
                let ecam = page_range(&GuestLayout::ECAM);
                [pci, ecam].concat()
            }
            ParameterKind::MADT => self.madt.ok_or(REBUILD)?.to_vec(),
            _ => return Err(REBUILD),
        })
    }
}

/// First page and number of pages (`IGVM_VHS_MEMORY_RANGE`).
fn page_range(range: &MemoryRange) -> Vec<u8> {
    [(range.start >> 12).to_le_bytes(), (range.size >> 12).to_le_bytes()].concat()
}

/// One entry of a memory map (`IGVM_VHS_MEMORY_MAP_ENTRY`).
fn entry(range: &MemoryRange) -> Vec<u8> {
    let mut bytes = page_range(range);
    bytes.extend(MEMORY.to_le_bytes());
    // Flags and a reserved field.
    bytes.extend([0; 6]);
    bytes
}
