//! The keyboard controller's one function that still matters: the reset line.

use std::fmt;

use super::power::{PowerEvent, PowerEvents};
use super::{bytes, bytes_mut};
use crate::bus::BusDevice;

/// Command that pulses the processor's reset line.
const PULSE_RESET: u8 = 0xfe;

/// A keyboard controller without keyboard: its command port resets the machine. It reads all ones, which
/// makes a driver's probe give up at once instead of waiting for answers.
pub struct I8042 {
    events: PowerEvents,
}

impl I8042 {
    /// Its command and status port.
    pub const PORT: u64 = 0x64;
    /// Number of ports.
    pub const LEN: u64 = 1;

    /// A controller that tells `events` when the guest asks for a reset.
    pub fn new(events: PowerEvents) -> Self {
        I8042 { events }
    }
}

impl fmt::Debug for I8042 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("I8042").finish_non_exhaustive()
    }
}

impl BusDevice for I8042 {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        bytes_mut(offset, data).for_each(|(_, byte)| *byte = 0xff);
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        if bytes(offset, data).any(|access| access == (0, PULSE_RESET)) {
            (self.events)(PowerEvent::Reset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_utils::read;
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn only_the_reset_pulse_does_anything() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let mut device = I8042::new(Arc::new(move |e| log.lock().unwrap().push(e)));
        for command in 0..=0xffu8 {
            device.write(0, &[command]);
        }
        device.write(7, &[0xfe]);
        device.write(0, &[]);
        assert_eq!(*seen.lock().unwrap(), [PowerEvent::Reset]);
        assert_eq!(read(&mut device, 0), 0xff);
    }
}
