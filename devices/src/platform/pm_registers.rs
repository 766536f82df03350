//! The chipset's power management registers that stock firmware uses: a timer to wait by, and a switch
//! to turn the machine off (Intel ICH9 datasheet §13.8.3). An operating system uses neither: ACPI's
//! tables lead it to [`super::PowerDevice`].
//!
//! | offset | register |
//! |-------:|----------|
//! | 0 | PM1_CNT: SLP_TYP in bits 12:10, SLP_EN is bit 13 |
//! | 4 | PM1_TMR: 24 bits that count at 3.579545 MHz |

use std::fmt;
use std::time::Instant;

use super::power::{PowerEvent, PowerEvents};
use crate::bus::BusDevice;

const CONTROL: u64 = 0;
const TIMER: u64 = 4;

/// SCI_EN: ACPI mode, from the start.
const SCI_ENABLE: u16 = 1;
const SLEEP_TYPE: u16 = 7 << 10;
const SLEEP_ENABLE: u16 = 1 << 13;
/// What edk2's OvmfPkg/Library/ResetSystemLib writes to turn the machine off, and QEMU takes.
const OFF_BY_FIRMWARE: u16 = 0;
/// S5 as the chipset has it.
const OFF: u16 = 7 << 10;

/// Ticks of the timer in a second (ACPI 6.5, 4.8.2.1).
const FREQUENCY: u128 = 3_579_545;
const NANOSECONDS: u128 = 1_000_000_000;
const TIMER_MASK: u32 = 0x00ff_ffff;

type Clock = Box<dyn Fn() -> u128 + Send>;

/// The registers.
pub struct PmRegisters {
    clock: Clock,
    events: PowerEvents,
    control: u16,
}

impl PmRegisters {
    /// PMBASE: what the LPC bridge says. [`super::PowerDevice`] has the first ports behind it.
    pub const BASE: u16 = 0x600;
    /// The first I/O port.
    pub const PORT: u64 = Self::BASE as u64 + 4;
    /// Number of ports.
    pub const LEN: u64 = 8;

    /// Registers whose switch tells `events`.
    pub fn new(events: PowerEvents) -> Self {
        let start = Instant::now();
        Self::with_clock(events, Box::new(move || start.elapsed().as_nanos()))
    }

    fn with_clock(events: PowerEvents, clock: Clock) -> Self {
        PmRegisters { clock, events, control: SCI_ENABLE }
    }

    fn ticks(&self) -> u32 {
        let ticks = (self.clock)().saturating_mul(FREQUENCY).checked_div(NANOSECONDS).unwrap_or(0);
        // The counter turns over: its low bits are all there is.
        ticks as u32 & TIMER_MASK
    }
}

impl fmt::Debug for PmRegisters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PmRegisters").field("control", &self.control).finish_non_exhaustive()
    }
}

impl BusDevice for PmRegisters {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        let register = match offset {
            CONTROL => u32::from(self.control),
            TIMER => self.ticks(),
            _ => 0,
        };
        data.fill(0);
        data.iter_mut().zip(register.to_le_bytes()).for_each(|(to, from)| *to = from);
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let (CONTROL, &[low, high, ..]) = (offset, data) else { return };
        let value = u16::from_le_bytes([low, high]);
        // SLP_EN is written and never read.
        self.control = (value & SLEEP_TYPE) | SCI_ENABLE;
        if value & SLEEP_ENABLE != 0 && matches!(value & SLEEP_TYPE, OFF_BY_FIRMWARE | OFF) {
            (self.events)(PowerEvent::PowerOff);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::{Arc, Mutex};

    type Seen = Arc<Mutex<Vec<PowerEvent>>>;

    fn at(nanoseconds: u128) -> (PmRegisters, Seen) {
        let seen = Seen::default();
        let log = seen.clone();
        let events: PowerEvents = Arc::new(move |e| log.lock().unwrap().push(e));
        (PmRegisters::with_clock(events, Box::new(move || nanoseconds)), seen)
    }

    fn read32(device: &mut PmRegisters, offset: u64) -> u32 {
        let mut data = [0xff; 4];
        device.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    #[test]
    fn the_timer_counts_at_its_rate_and_turns_over() {
        assert_eq!(read32(&mut at(0).0, 4), 0);
        assert_eq!(read32(&mut at(1_000_000_000).0, 4), 3_579_545);
        assert_eq!(read32(&mut at(10_000_000_000).0, 4), 35_795_450 % (1 << 24));
        assert!(read32(&mut at(u128::MAX).0, 4) < 1 << 24);
        let (mut running, _) = (PmRegisters::new(Arc::new(|_| ())), ());
        let before = read32(&mut running, 4);
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(read32(&mut running, 4) > before);
    }

    #[test]
    fn firmware_turns_the_machine_off_as_its_library_does() {
        let (mut device, seen) = at(0);
        let control = read32(&mut device, 0) as u16;
        device.write(0, &(control & !SLEEP_TYPE).to_le_bytes());
        assert!(seen.lock().unwrap().is_empty());
        device.write(0, &(control | SLEEP_ENABLE).to_le_bytes());
        device.write(0, &(5 << 10 | SLEEP_ENABLE).to_le_bytes());
        assert_eq!(*seen.lock().unwrap(), [PowerEvent::PowerOff], "suspend is not there");
        assert_eq!(read32(&mut device, 0) as u16 & SLEEP_ENABLE, 0);
    }

    proptest! {
        #[test]
        fn any_access_is_survived(now: u128, accesses: Vec<(u64, Vec<u8>, bool)>) {
            let (mut device, _) = at(now);
            for (offset, mut data, write) in accesses {
                if write { device.write(offset % 9, &data) } else { device.read(offset % 9, &mut data) }
            }
        }
    }
}
