//! The PCI_CFG capability: the BAR's contents by configuration accesses alone (virtio 1.3 §4.1.4.9).

use super::layout::{BAR, CAP_BAR, CAP_DATA, CAP_LENGTH, CAP_OFFSET};
use crate::pci::ConfigSpace;

/// An access that the driver set up: offset into the BAR, and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) offset: u64,
    pub(super) len: usize,
}

/// The capability, by its offset in configuration space.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) capability: u16,
}

impl Window {
    /// Where `pci_cfg_data` is.
    pub(super) fn data(&self) -> u16 {
        self.capability.saturating_add(CAP_DATA)
    }

    /// The access that a configuration access to `offset` stands for: none, unless it begins at
    /// `pci_cfg_data` and bar, offset and length are what a driver may choose (§4.1.4.9.2).
    pub(super) fn access(&self, space: &ConfigSpace, offset: u16) -> Option<Access> {
        if offset != self.data() {
            return None;
        }
        let field = |at| self.capability.saturating_add(at);
        let mut bar = [0; 1];
        space.read(field(CAP_BAR), &mut bar);
        let offset = space.u32(field(CAP_OFFSET));
        let len = space.u32(field(CAP_LENGTH));
        let valid = bar == [BAR] && matches!(len, 1 | 2 | 4) && offset.is_multiple_of(len);
        valid.then_some(Access { offset: u64::from(offset), len: len as usize })
    }
}
