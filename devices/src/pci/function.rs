//! A function as the root bus sees it.

use super::config::{BarWindow, ConfigSpace};

/// A PCI function. Everything it is asked to read or write comes from the guest: any offset, and 1, 2, 4
/// or 8 bytes (4 at most in configuration space).
pub trait PciFunction: Send {
    /// Its configuration space.
    fn space(&self) -> &ConfigSpace;

    /// Its configuration space, to be written.
    fn space_mut(&mut self) -> &mut ConfigSpace;

    /// The guest reads configuration space; `data` is to be set in full.
    fn config_read(&mut self, offset: u16, data: &mut [u8]) {
        self.space().read(offset, data);
    }

    /// The guest writes configuration space.
    fn config_write(&mut self, offset: u16, data: &[u8]) {
        self.space_mut().write(offset, data);
    }

    /// The guest reads from BAR `bar`; what is not set reads as ones.
    fn bar_read(&mut self, bar: u8, offset: u64, data: &mut [u8]) {
        let _ = (bar, offset, data);
    }

    /// The guest writes to BAR `bar`.
    fn bar_write(&mut self, bar: u8, offset: u64, data: &[u8]) {
        let _ = (bar, offset, data);
    }

    /// The BARs that can be reached changed: these, and no others, all inside the window for BARs.
    fn bars_moved(&mut self, windows: &[BarWindow]) {
        let _ = windows;
    }
}
