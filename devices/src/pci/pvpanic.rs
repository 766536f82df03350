//! pvpanic: a guest says that it panicked (QEMU's docs/specs/pvpanic).

use bitflags::bitflags;

use super::config::{ConfigSpace, Identity, LayoutError};
use super::function::PciFunction;

const BAR: u8 = 0;
const BAR_SIZE: u32 = 0x1000;

bitflags! {
    /// What a guest may report. Open: what has no name here is passed over.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct PanicEvents: u8 {
        /// The guest panicked; the host is to deal with it.
        const PANICKED = 1;
        /// The guest panicked and is dealing with it (a crash kernel was loaded).
        const CRASH_LOADED = 1 << 1;
        const _ = !0;
    }
}

/// The events that are offered.
const OFFERED: PanicEvents = PanicEvents::PANICKED.union(PanicEvents::CRASH_LOADED);

/// The pvpanic PCI function: one register, read for what can be reported, written to report it.
pub struct Pvpanic {
    space: ConfigSpace,
    report: Box<dyn FnMut(PanicEvents) + Send>,
}

impl Pvpanic {
    /// A pvpanic that hands reports to `report`, from a vCPU thread: it must not block, and a guest may
    /// report as often as it likes.
    pub fn new(report: impl FnMut(PanicEvents) + Send + 'static) -> Result<Self, LayoutError> {
        let mut space = ConfigSpace::new(Identity {
            vendor: 0x1b36,
            device: 0x0011,
            revision: 1,
            // A system peripheral, other.
            class: 0x088000,
            subsystem_vendor: 0x1af4,
            subsystem: 0x1100,
        });
        space.add_bar(BAR, BAR_SIZE)?;
        Ok(Pvpanic { space, report: Box::new(report) })
    }
}

impl PciFunction for Pvpanic {
    fn space(&self) -> &ConfigSpace {
        &self.space
    }

    fn space_mut(&mut self) -> &mut ConfigSpace {
        &mut self.space
    }

    fn bar_read(&mut self, _bar: u8, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let (0, Some(first)) = (offset, data.first_mut()) {
            *first = OFFERED.bits();
        }
    }

    fn bar_write(&mut self, _bar: u8, offset: u64, data: &[u8]) {
        let (0, Some(value)) = (offset, data.first()) else { return };
        let events = PanicEvents::from_bits_retain(*value) & OFFERED;
        if !events.is_empty() {
            (self.report)(events);
        }
    }
}

impl std::fmt::Debug for Pvpanic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pvpanic").finish_non_exhaustive()
    }
}
