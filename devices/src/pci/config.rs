//! The configuration space of one function: its header, its BARs, its capabilities.

use snafu::Snafu;

use super::spec::{
    BAR0, CACHE_LINE, CAPABILITIES, COMMAND, COMMAND_MEMORY, COMMAND_WRITABLE, DEVICE, HEADER_END,
    INTERRUPT_LINE, REVISION, STATUS, STATUS_CAPABILITIES, SUBSYSTEM, SUBSYSTEM_VENDOR, VENDOR,
};

/// Bytes of configuration space that have contents; the extended space after them reads as zeros.
const SIZE: usize = 256;
const BARS: u8 = 6;

/// Who a function says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Identity {
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Revision id.
    pub revision: u8,
    /// Class, subclass and programming interface, from the highest byte down.
    pub class: u32,
    /// Subsystem vendor id.
    pub subsystem_vendor: u16,
    /// Subsystem id.
    pub subsystem: u16,
}

/// A BAR that its function decodes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BarWindow {
    /// Which BAR.
    pub bar: u8,
    /// Its guest-physical address.
    pub base: u64,
    /// Its length in bytes.
    pub size: u64,
}

/// A function that cannot be laid out: a mistake of ours, never of a guest's.
#[derive(Debug, Snafu)]
pub enum LayoutError {
    /// A BAR that PCI has no form for.
    #[snafu(display(
        "BAR {bar} of {size:#x} bytes: not a power of two from 16 on, or no such BAR, or taken"
    ))]
    BadBar {
        /// Which BAR.
        bar: u8,
        /// Its size.
        size: u32,
    },
    /// The capabilities do not fit into 256 bytes.
    #[snafu(display("no room for capability {id:#x} of {len} bytes"))]
    NoRoom {
        /// The capability's id.
        id: u8,
        /// Its length without the two bytes that all capabilities begin with.
        len: usize,
    },
}

/// Configuration space as bytes, with a mask of what the guest can change.
#[derive(Debug, Clone)]
pub struct ConfigSpace {
    bytes: [u8; SIZE],
    writable: [u8; SIZE],
    bar_sizes: [u32; BARS as usize],
    /// Where the next capability is put, and where its address is to be written.
    next_capability: u16,
    last_link: u16,
}

impl ConfigSpace {
    /// A type 0 header without BARs and capabilities.
    pub fn new(identity: Identity) -> Self {
        let mut space = ConfigSpace {
            bytes: [0; SIZE],
            writable: [0; SIZE],
            bar_sizes: [0; BARS as usize],
            next_capability: HEADER_END,
            last_link: CAPABILITIES,
        };
        space.set_u16(VENDOR, identity.vendor);
        space.set_u16(DEVICE, identity.device);
        space.set_u32(REVISION, identity.class << 8 | u32::from(identity.revision));
        space.set_u16(SUBSYSTEM_VENDOR, identity.subsystem_vendor);
        space.set_u16(SUBSYSTEM, identity.subsystem);
        space.make_writable(COMMAND, &COMMAND_WRITABLE.to_le_bytes());
        space.make_writable(CACHE_LINE, &[0xff]);
        space.make_writable(INTERRUPT_LINE, &[0xff]);
        space
    }

    /// Adds a 32-bit memory BAR.
    pub fn add_bar(&mut self, bar: u8, size: u32) -> Result<(), LayoutError> {
        let bad = LayoutError::BadBar { bar, size };
        match self.bar_sizes.get_mut(usize::from(bar)) {
            Some(free) if *free == 0 && size.is_power_of_two() && size >= 16 => *free = size,
            _ => return Err(bad),
        }
        // The bits below the size are not there: that is how its size is told.
        self.make_writable(bar_register(bar), &size.wrapping_neg().to_le_bytes());
        Ok(())
    }

    /// Adds a capability of `body` (without the id and the link to the next one), of which the guest can
    /// change the bits of `writable`. Gives the offset of the whole.
    pub fn add_capability(&mut self, id: u8, body: &[u8], writable: &[u8]) -> Result<u16, LayoutError> {
        let at = self.next_capability;
        let no_room = LayoutError::NoRoom { id, len: body.len() };
        let Some(body_at) = at.checked_add(2) else { return Err(no_room) };
        let end = usize::from(body_at).saturating_add(body.len());
        let (Ok(offset), true) = (u8::try_from(at), end <= SIZE) else { return Err(no_room) };
        self.set(at, &[id, 0]);
        self.set(body_at, body);
        self.make_writable(body_at, writable);
        self.set(self.last_link, &[offset]);
        self.set_u16(STATUS, STATUS_CAPABILITIES);
        self.last_link = at.saturating_add(1);
        self.next_capability = u16::try_from(end.next_multiple_of(4)).unwrap_or(u16::MAX);
        Ok(at)
    }

    /// The guest reads. Any offset and length; beyond the contents there are zeros.
    pub fn read(&self, offset: u16, data: &mut [u8]) {
        data.fill(0);
        let from = self.bytes.get(usize::from(offset)..).unwrap_or_default();
        for (to, from) in data.iter_mut().zip(from) {
            *to = *from;
        }
    }

    /// The guest writes. Any offset and length; only bits that are writable change.
    pub fn write(&mut self, offset: u16, data: &[u8]) {
        let at = usize::from(offset);
        let bytes = self.bytes.get_mut(at..).unwrap_or_default();
        let masks = self.writable.get(at..).unwrap_or_default();
        for ((byte, mask), new) in bytes.iter_mut().zip(masks).zip(data) {
            *byte = (*byte & !mask) | (new & mask);
        }
    }

    /// The BARs that the function decodes now; none while its memory decoding is off.
    pub fn windows(&self) -> Vec<BarWindow> {
        if self.u16(COMMAND) & COMMAND_MEMORY == 0 {
            return Vec::new();
        }
        let placed = |(bar, &size): (u8, &u32)| {
            let base = u64::from(self.u32(bar_register(bar)));
            (size > 0).then_some(BarWindow { bar, base, size: u64::from(size) })
        };
        (0..BARS).zip(&self.bar_sizes).filter_map(placed).collect()
    }

    /// Size of each BAR; 0 where there is none.
    pub fn bar_sizes(&self) -> impl Iterator<Item = (u8, u32)> + '_ {
        (0..BARS).zip(self.bar_sizes.iter().copied())
    }

    /// The 16 bits at `offset`.
    pub fn u16(&self, offset: u16) -> u16 {
        let mut bytes = [0; 2];
        self.read(offset, &mut bytes);
        u16::from_le_bytes(bytes)
    }

    /// The 32 bits at `offset`.
    pub fn u32(&self, offset: u16) -> u32 {
        let mut bytes = [0; 4];
        self.read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// Sets bytes, writable by the guest or not.
    pub fn set(&mut self, offset: u16, data: &[u8]) {
        let bytes = self.bytes.get_mut(usize::from(offset)..).unwrap_or_default();
        for (byte, new) in bytes.iter_mut().zip(data) {
            *byte = *new;
        }
    }

    /// Lets the guest change the bits of `mask` at `offset`.
    pub fn make_writable(&mut self, offset: u16, mask: &[u8]) {
        let masks = self.writable.get_mut(usize::from(offset)..).unwrap_or_default();
        for (byte, new) in masks.iter_mut().zip(mask) {
            *byte |= *new;
        }
    }

    fn set_u16(&mut self, offset: u16, value: u16) {
        self.set(offset, &value.to_le_bytes());
    }

    fn set_u32(&mut self, offset: u16, value: u32) {
        self.set(offset, &value.to_le_bytes());
    }
}

/// Where BAR `bar` is in configuration space.
pub(super) fn bar_register(bar: u8) -> u16 {
    BAR0.saturating_add(u16::from(bar).saturating_mul(4))
}
