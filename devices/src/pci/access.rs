//! The three ways from a guest's access to a function.

use super::root::{PciRoot, SLOTS, Slot};
use crate::bus::BusDevice;

/// The address register's bit that says it selects configuration space (PCI Local Bus 3.0 §3.2.2.3.2).
const ENABLE: u32 = 1 << 31;
/// The reset control register of the chipset, inside the address register.
const RESET_CONTROL: u64 = 1;
/// Reset control: reset the CPU when this turns from 0 to 1.
const RESET_CPU: u8 = 1 << 2;

/// Configuration space by ports: the address at 0xcf8, the data at 0xcfc to 0xcff.
///
/// A byte written to 0xcf9 is the chipset's reset control, by which guests reboot.
pub struct ConfigPorts {
    root: PciRoot,
    address: u32,
    reset_control: u8,
    on_reset: Option<Box<dyn FnMut() + Send>>,
}

impl ConfigPorts {
    /// First port.
    pub const BASE: u64 = 0xcf8;
    /// Number of ports.
    pub const LEN: u64 = 8;

    /// The ports of `root`.
    pub fn new(root: PciRoot) -> Self {
        ConfigPorts { root, address: 0, reset_control: 0, on_reset: None }
    }

    /// Calls `on_reset` when the guest resets the machine through port 0xcf9.
    pub fn with_reset(mut self, on_reset: impl FnMut() + Send + 'static) -> Self {
        self.on_reset = Some(Box::new(on_reset));
        self
    }

    /// Which function and register an access to data port `offset` means.
    fn selected(&self, offset: u64) -> Option<(Slot, u16)> {
        let [register, device, bus, _] = self.address.to_le_bytes();
        let function = device & 7;
        if self.address & ENABLE == 0 || bus != 0 || function != 0 {
            return None;
        }
        let byte = u16::try_from(offset & 3).unwrap_or(0);
        Some((Slot(device >> 3), u16::from(register & !3) | byte))
    }

    fn reset_control(&mut self, value: u8) {
        let rising = value & !self.reset_control & RESET_CPU != 0;
        self.reset_control = value;
        if let (true, Some(on_reset)) = (rising, &mut self.on_reset) {
            on_reset();
        }
    }
}

impl BusDevice for ConfigPorts {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        match offset {
            0 if data.len() == 4 => data.copy_from_slice(&self.address.to_le_bytes()),
            RESET_CONTROL if data.len() == 1 => data.fill(self.reset_control),
            4..8 if crosses_dword(offset, data.len()) => {}
            4..8 => {
                if let Some((slot, register)) = self.selected(offset) {
                    self.root.config_read(slot, register, data);
                }
            }
            _ => {}
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        match (offset, data) {
            (0, &[a, b, c, d]) => self.address = u32::from_le_bytes([a, b, c, d]),
            (RESET_CONTROL, &[value]) => self.reset_control(value),
            (4..8, data) if !crosses_dword(offset, data.len()) => {
                if let Some((slot, register)) = self.selected(offset) {
                    self.root.config_write(slot, register, data);
                }
            }
            _ => {}
        }
    }
}

impl std::fmt::Debug for ConfigPorts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigPorts").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Configuration space by memory (PCI Express 6.0 §7.2.2): 4 KiB for each function, 1 MiB for each bus.
#[derive(Debug)]
pub struct Ecam {
    root: PciRoot,
}

impl Ecam {
    /// The enhanced configuration space of `root`.
    pub fn new(root: PciRoot) -> Self {
        Ecam { root }
    }

    fn selected(offset: u64) -> Option<(Slot, u16)> {
        let (register, function) = (offset & 0xfff, offset >> 12);
        // Bus 0 only: above its 32 slots of 8 functions there is nobody.
        let slot = function >> 3;
        if function & 7 != 0 || slot >= SLOTS as u64 {
            return None;
        }
        Some((Slot(u8::try_from(slot).ok()?), u16::try_from(register).ok()?))
    }
}

impl BusDevice for Ecam {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        for (i, part) in data.chunks_mut(4).enumerate() {
            let at = offset.saturating_add((i as u64).saturating_mul(4));
            if crosses_dword(at, part.len()) {
                return;
            }
            if let Some((slot, register)) = Ecam::selected(at) {
                self.root.config_read(slot, register, part);
            }
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        for (i, part) in data.chunks(4).enumerate() {
            let at = offset.saturating_add((i as u64).saturating_mul(4));
            if crosses_dword(at, part.len()) {
                return;
            }
            if let Some((slot, register)) = Ecam::selected(at) {
                self.root.config_write(slot, register, part);
            }
        }
    }
}

/// The window in which BARs are; it finds out whose BAR an access means.
#[derive(Debug)]
pub struct PciMmio {
    root: PciRoot,
}

impl PciMmio {
    /// The window of `root`, to be put on the bus at [`PciRoot::mmio_window`].
    pub fn new(root: PciRoot) -> Self {
        PciMmio { root }
    }
}

impl BusDevice for PciMmio {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        let (base, _) = self.root.mmio_window();
        self.root.mmio_read(base.saturating_add(offset), data);
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let (base, _) = self.root.mmio_window();
        self.root.mmio_write(base.saturating_add(offset), data);
    }
}

/// No configuration access goes over a register's end (PCI Local Bus 3.0 §3.2.2.3).
fn crosses_dword(offset: u64, len: usize) -> bool {
    (offset & 3).saturating_add(len as u64) > 4
}
