//! Power, as ACPI's hardware-reduced profile has it: sleep control, reset, and the power button.
//!
//! | offset | register |
//! |-------:|----------|
//! | 0 | sleep control (write) and sleep status (read): SLP_TYP in bits 4:2, SLP_EN is bit 5 |
//! | 1 | reset: writing 1 resets |
//! | 2 | event status, for the GED's `_EVT`: bit 0 is the power button; reading clears |
//! | 3 | reads as zero |

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::{bytes, bytes_mut};
use crate::bus::BusDevice;
use crate::irq::IrqLine;

const SLEEP: u64 = 0;
const RESET: u64 = 1;
const EVENTS: u64 = 2;

const SLEEP_TYPE_SHIFT: u8 = 2;
const SLEEP_TYPE_MASK: u8 = 7;
const SLEEP_ENABLE: u8 = 1 << 5;

/// What the guest asked of its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerEvent {
    /// Sleep state S5: off.
    PowerOff,
    /// A reset.
    Reset,
}

/// Who is told. Called on a vCPU's thread, so it must not wait for the vCPUs; a guest may call it often.
pub type PowerEvents = Arc<dyn Fn(PowerEvent) + Send + Sync>;

/// The registers.
pub struct PowerDevice {
    events: PowerEvents,
    pending: Arc<AtomicU8>,
}

impl PowerDevice {
    /// The first I/O port.
    pub const PORT: u64 = 0x600;
    /// Number of ports.
    pub const LEN: u64 = 4;
    /// SLP_TYP for S5: what `\_S5` in the ACPI tables has to say.
    pub const SLEEP_TYPE_OFF: u8 = 5;
    /// Value that resets, for the FADT.
    pub const RESET_VALUE: u8 = 1;
    /// Event status: the power button was pressed.
    pub const EVENT_POWER_BUTTON: u8 = 1 << 0;

    /// The registers, and the button that raises `line` (the GED's interrupt, edge-triggered).
    pub fn new(events: PowerEvents, line: Arc<dyn IrqLine>) -> (Self, PowerButton) {
        let pending = Arc::new(AtomicU8::new(0));
        let button = PowerButton { pending: pending.clone(), line };
        (PowerDevice { events, pending }, button)
    }
}

impl fmt::Debug for PowerDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PowerDevice").field("pending", &self.pending).finish_non_exhaustive()
    }
}

impl BusDevice for PowerDevice {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        for (register, byte) in bytes_mut(offset, data) {
            *byte = match register {
                EVENTS => self.pending.swap(0, Ordering::AcqRel),
                _ => 0,
            };
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        for (register, value) in bytes(offset, data) {
            let sleep_type = (value >> SLEEP_TYPE_SHIFT) & SLEEP_TYPE_MASK;
            match register {
                SLEEP if value & SLEEP_ENABLE != 0 && sleep_type == Self::SLEEP_TYPE_OFF => {
                    (self.events)(PowerEvent::PowerOff);
                }
                RESET if value == Self::RESET_VALUE => (self.events)(PowerEvent::Reset),
                _ => {}
            }
        }
    }
}

/// The button: asks the guest to shut down.
#[derive(Clone)]
pub struct PowerButton {
    pending: Arc<AtomicU8>,
    line: Arc<dyn IrqLine>,
}

impl PowerButton {
    /// Presses it. From any thread; a guest that does not listen notices nothing.
    pub fn press(&self) {
        self.pending.fetch_or(PowerDevice::EVENT_POWER_BUTTON, Ordering::AcqRel);
        self.line.set(true);
        self.line.set(false);
    }
}

impl fmt::Debug for PowerButton {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PowerButton").field("pending", &self.pending).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_utils::{Edges, read};
    use super::*;
    use proptest::prelude::*;
    use std::sync::Mutex;

    type Seen = Arc<Mutex<Vec<PowerEvent>>>;

    fn device() -> (PowerDevice, PowerButton, Seen, Arc<Edges>) {
        let seen = Seen::default();
        let (log, edges) = (seen.clone(), Edges::new());
        let (device, button) =
            PowerDevice::new(Arc::new(move |e| log.lock().unwrap().push(e)), edges.clone());
        (device, button, seen, edges)
    }

    #[test]
    fn sleep_and_reset_are_reported() {
        let (mut device, _, seen, _) = device();
        device.write(0, &[5 << 2]);
        device.write(0, &[(3 << 2) | (1 << 5)]);
        device.write(1, &[0]);
        assert!(seen.lock().unwrap().is_empty());
        device.write(0, &[0x34]);
        device.write(1, &[1]);
        assert_eq!(*seen.lock().unwrap(), [PowerEvent::PowerOff, PowerEvent::Reset]);
        assert_eq!(read(&mut device, 0), 0);
    }

    #[test]
    fn the_button_sets_its_bit_until_it_is_read() {
        let (mut device, button, seen, edges) = device();
        assert_eq!(read(&mut device, 2), 0);
        button.press();
        button.clone().press();
        assert_eq!((read(&mut device, 2), read(&mut device, 2)), (1, 0));
        assert_eq!(edges.count(), 2);
        assert!(seen.lock().unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn any_access_is_survived(accesses: Vec<(u64, Vec<u8>, bool)>) {
            let (mut device, _, _, _) = device();
            for (offset, mut data, write) in accesses {
                if write { device.write(offset, &data) } else { device.read(offset, &mut data) }
            }
        }
    }
}
