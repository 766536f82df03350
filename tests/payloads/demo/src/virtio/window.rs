//! A virtio device's registers through its configuration space (VIRTIO_PCI_CAP_PCI_CFG).
//!
//! Slower than the BARs, but made of port accesses only: these need no instruction emulation, and so
//! they work where the host cannot read the guest's code.

use crate::error::HostError;
use crate::pci::{Function, Pci};
use crate::platform::Ports;

const VENDOR_CAPABILITY: u8 = 0x09;

const TYPE_COMMON: u8 = 1;
const TYPE_NOTIFY: u8 = 2;
const TYPE_DEVICE: u8 = 4;
const TYPE_WINDOW: u8 = 5;

const CAP_LEN: u8 = 2;
const CAP_TYPE: u8 = 3;
const CAP_BAR: u8 = 4;
const CAP_OFFSET: u8 = 8;
const CAP_LENGTH: u8 = 12;
const CAP_DATA: u8 = 16;
/// A capability of this length has everything that we read of it.
const CAP_SHORTEST: u8 = 16;
const CAP_LONGEST_AT: u8 = 0xff - 20;

const COMMON_LEN: u32 = 56;

/// A structure somewhere in a BAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Structure {
    bar: u8,
    offset: u32,
    len: u32,
}

impl Structure {
    /// The part of it at `[offset, offset + len)`.
    pub(super) fn part(self, offset: u32, len: u32) -> Option<Structure> {
        let inside = offset.checked_add(len)? <= self.len;
        inside.then_some(Structure { bar: self.bar, offset: self.offset.checked_add(offset)?, len })
    }
}

/// Where a device says that its structures are.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) common: Structure,
    pub(super) device: Structure,
    pub(super) notify: Structure,
    pub(super) notify_multiplier: u32,
}

/// The window, and what it looks at.
#[derive(Debug)]
pub(super) struct Window<P> {
    pci: Pci<P>,
    at: Function,
    window: u8,
    selected: Option<Structure>,
}

impl<P: Ports> Window<P> {
    /// Reads a function's virtio capabilities. Of several of a type, the first is the one to use.
    pub(super) fn open(mut pci: Pci<P>, at: Function) -> Result<(Self, Layout), HostError> {
        let (mut common, mut device, mut notify, mut window) = (None, None, None, None);
        pci.capabilities(at, VENDOR_CAPABILITY, |pci, cap| {
            if cap > CAP_LONGEST_AT || pci.read8(at, cap | CAP_LEN) < CAP_SHORTEST {
                return;
            }
            let Some(structure) = structure(pci, at, cap) else { return };
            match pci.read8(at, cap | CAP_TYPE) {
                TYPE_COMMON => common = common.or(Some(structure)),
                TYPE_DEVICE => device = device.or(Some(structure)),
                TYPE_NOTIFY => {
                    notify = notify.or_else(|| Some((structure, pci.read32(at, cap.wrapping_add(CAP_DATA)))));
                }
                TYPE_WINDOW => window = window.or(Some(cap)),
                _ => {}
            }
        });
        let (notify, notify_multiplier) = notify.ok_or(HostError::Capability("notify"))?;
        let layout = Layout {
            common: common.filter(|s| s.len >= COMMON_LEN).ok_or(HostError::Capability("common"))?,
            device: device.ok_or(HostError::Capability("device"))?,
            notify,
            notify_multiplier,
        };
        let window = window.ok_or(HostError::Capability("PCI configuration"))?;
        pci.enable(at);
        Ok((Window { pci, at, window, selected: None }, layout))
    }

    /// Reads the one, two or four bytes of `part`.
    pub(super) fn read(&mut self, part: Structure) -> u32 {
        let data = self.select(part);
        match part.len {
            1 => u32::from(self.pci.read8(self.at, data)),
            2 => u32::from(self.pci.read16(self.at, data)),
            _ => self.pci.read32(self.at, data),
        }
    }

    /// Writes the one, two or four bytes of `part`.
    pub(super) fn write(&mut self, part: Structure, value: u32) {
        let data = self.select(part);
        match part.len {
            1 => self.pci.write8(self.at, data, value as u8),
            2 => self.pci.write16(self.at, data, value as u16),
            _ => self.pci.write32(self.at, data, value),
        }
    }

    fn select(&mut self, part: Structure) -> u8 {
        let (at, cap, before) = (self.at, self.window, self.selected.replace(part));
        if before.is_none_or(|b| b.bar != part.bar) {
            self.pci.write8(at, cap.wrapping_add(CAP_BAR), part.bar);
        }
        if before.is_none_or(|b| b.offset != part.offset) {
            self.pci.write32(at, cap.wrapping_add(CAP_OFFSET), part.offset);
        }
        if before.is_none_or(|b| b.len != part.len) {
            self.pci.write32(at, cap.wrapping_add(CAP_LENGTH), part.len);
        }
        cap.wrapping_add(CAP_DATA)
    }
}

fn structure<P: Ports>(pci: &mut Pci<P>, at: Function, cap: u8) -> Option<Structure> {
    let bar = pci.read8(at, cap.wrapping_add(CAP_BAR));
    let offset = pci.read32(at, cap.wrapping_add(CAP_OFFSET));
    let len = pci.read32(at, cap.wrapping_add(CAP_LENGTH));
    (bar < 6 && offset.checked_add(len).is_some()).then_some(Structure { bar, offset, len })
}
