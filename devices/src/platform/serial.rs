//! The serial port: a 16550A whose output goes to the host.

use std::convert::Infallible;
use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use vm_superio::Trigger;
use vm_superio::serial::{NoEvents, Serial as Uart};

use super::serial_input::{Input, SerialInput};
use super::{bytes, bytes_mut, lock};
use crate::bus::BusDevice;
use crate::irq::IrqLine;

/// Where the guest's output goes. It is written on the vCPU's thread, byte by byte.
pub(super) type Output = Box<dyn Write + Send>;
pub(super) type Chip = Uart<Pulse, NoEvents, Output>;

/// The UART's interrupt: an edge for each event, as on the ISA bus.
pub(super) struct Pulse(Arc<dyn IrqLine>);

impl Trigger for Pulse {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        self.0.set(true);
        self.0.set(false);
        Ok(())
    }
}

/// What a serial port has counted.
#[derive(Debug, Default)]
pub struct SerialCounters {
    /// Bytes that the guest wrote.
    pub written: AtomicU64,
    /// Bytes of these that the host's side did not take.
    pub lost: AtomicU64,
}

/// A serial port on the bus.
pub struct Serial {
    input: Arc<Input>,
    counters: Arc<SerialCounters>,
}

impl Serial {
    /// I/O port of the first serial port, COM1; its interrupt is [`Self::COM1_IRQ`].
    pub const COM1: u64 = 0x3f8;
    /// Interrupt of COM1.
    pub const COM1_IRQ: u8 = 4;
    /// Number of ports.
    pub const LEN: u64 = 8;

    /// A port that writes to `output`, and the handle through which the host types.
    pub fn new(output: Output, line: Arc<dyn IrqLine>) -> (Self, SerialInput) {
        let input = Arc::new(Input::new(Mutex::new(Uart::new(Pulse(line), output).into())));
        (Serial { input: input.clone(), counters: Arc::default() }, SerialInput::new(input))
    }

    /// What the port has counted so far, live.
    pub fn counters(&self) -> Arc<SerialCounters> {
        self.counters.clone()
    }
}

impl Drop for Serial {
    fn drop(&mut self) {
        self.input.end();
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serial").field("counters", &self.counters).finish_non_exhaustive()
    }
}

const TRANSMIT: u64 = 0;
const LINE_CONTROL: u8 = 3;
const DIVISOR_LATCH: u8 = 1 << 7;
const MODEM_CONTROL: u8 = 4;
const LOOPBACK: u8 = 1 << 4;

impl BusDevice for Serial {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        let mut queue = lock(&self.input.queue);
        for (register, byte) in bytes_mut(offset, data).filter(|(register, _)| *register < Self::LEN) {
            *byte = queue.chip.read(register as u8);
        }
        self.input.refill(&mut queue);
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let mut queue = lock(&self.input.queue);
        for (register, byte) in bytes(offset, data).filter(|(register, _)| *register < Self::LEN) {
            let is_output = register == TRANSMIT
                && queue.chip.read(LINE_CONTROL) & DIVISOR_LATCH == 0
                && queue.chip.read(MODEM_CONTROL) & LOOPBACK == 0;
            let taken = queue.chip.write(register as u8, byte).is_ok();
            self.counters.written.fetch_add(u64::from(is_output), Ordering::Relaxed);
            self.counters.lost.fetch_add(u64::from(is_output && !taken), Ordering::Relaxed);
        }
        self.input.refill(&mut queue);
    }
}

#[cfg(test)]
#[path = "serial_test.rs"]
mod tests;
