//! The I/O APIC, in user space, for a KVM that keeps only the local APICs (split irqchip).
//!
//! Wired interrupts leave as messages through an [`MsiSink`]. Ends of level-triggered interrupts come
//! back from KVM (KVM_EXIT_IOAPIC_EOI) through [`Ioapic::eoi`], or from the guest by the EOI register.

use std::fmt;
use std::sync::{Arc, Mutex};

use super::ioapic_entry::Entry;
use super::lock;
use crate::bus::BusDevice;
use crate::irq::{IrqLine, MsiMessage};

const SELECT: u64 = 0x00;
const WINDOW: u64 = 0x10;
const EOI: u64 = 0x40;

const INDEX_ID: u8 = 0;
const INDEX_VERSION: u8 = 1;
const INDEX_ARBITRATION: u8 = 2;
const INDEX_TABLE: u8 = 0x10;
/// The first version that has an EOI register.
const VERSION: u32 = 0x20;
const ID_MASK: u32 = 0x0f00_0000;

/// Where the I/O APIC's messages go: the board's half, over KVM_SIGNAL_MSI and GSI routing.
///
/// Both are called with the I/O APIC locked, from any thread, and must not call back into it.
pub trait MsiSink: Send + Sync {
    /// Delivers a message now.
    fn send(&self, message: MsiMessage);
    /// A pin's entry was written: `None` while it is masked. A board that tells KVM which vectors need an
    /// EOI exit keeps the last message of a masked pin that was `level`, which may still be in service.
    fn routes_changed(&self, pin: u8, message: Option<MsiMessage>, level: bool);
}

/// The I/O APIC. Clones are the same one; give one to the bus and keep one for lines and EOIs.
#[derive(Clone)]
pub struct Ioapic {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    sink: Box<dyn MsiSink>,
}

#[derive(Default)]
struct State {
    select: u8,
    id: u32,
    entries: [Entry; Ioapic::PINS as usize],
    high: [bool; Ioapic::PINS as usize],
}

impl Ioapic {
    /// Where it lies by convention; the MADT says so too.
    pub const ADDRESS: u64 = 0xfec0_0000;
    /// Bytes of address space.
    pub const LEN: u64 = 0x1000;
    /// Number of pins.
    pub const PINS: u8 = 24;

    /// An I/O APIC with all pins masked.
    pub fn new(sink: Box<dyn MsiSink>) -> Self {
        Ioapic { shared: Arc::new(Shared { state: Mutex::default(), sink }) }
    }

    /// The line that drives `pin`; `None` if there is no such pin.
    pub fn line(&self, pin: u8) -> Option<IoapicLine> {
        (pin < Self::PINS).then(|| IoapicLine { ioapic: self.clone(), pin })
    }

    /// Drives a pin. An edge-triggered pin delivers when it rises; a level-triggered one while it is high
    /// and not in service.
    pub fn set_irq(&self, pin: u8, high: bool) {
        let mut state = lock(&self.shared.state);
        let State { entries, high: levels, .. } = &mut *state;
        let pin = usize::from(pin);
        let (Some(entry), Some(level)) = (entries.get_mut(pin), levels.get_mut(pin)) else { return };
        let rose = high && !*level;
        *level = high;
        if entry.is_level() {
            self.shared.deliver_level(entry, high);
        } else if rose && !entry.is_masked() {
            self.shared.sink.send(entry.message());
        }
    }

    /// A local APIC ended the interrupt `vector`: pins that are still high deliver again.
    pub fn eoi(&self, vector: u8) {
        let mut state = lock(&self.shared.state);
        self.shared.end(&mut state, vector);
    }
}

impl Shared {
    fn deliver_level(&self, entry: &mut Entry, high: bool) {
        if high && entry.is_level() && !entry.is_masked() && !entry.in_service() {
            entry.set_in_service(true);
            self.sink.send(entry.message());
        }
    }

    fn end(&self, state: &mut State, vector: u8) {
        for (entry, high) in state.entries.iter_mut().zip(state.high) {
            if entry.in_service() && entry.vector() == vector {
                entry.set_in_service(false);
                self.deliver_level(entry, high);
            }
        }
    }

    fn read_window(&self, state: &State) -> u32 {
        match state.select {
            INDEX_ID | INDEX_ARBITRATION => state.id,
            INDEX_VERSION => (u32::from(Ioapic::PINS.saturating_sub(1)) << 16) | VERSION,
            index => {
                let (pin, high) = table_index(index);
                pin.and_then(|pin| state.entries.get(pin)).map_or(0, |entry| entry.half(high))
            }
        }
    }

    fn write_window(&self, state: &mut State, value: u32) {
        if state.select == INDEX_ID {
            state.id = value & ID_MASK;
        }
        let (Some(pin), high) = table_index(state.select) else { return };
        let (Some(entry), Some(level)) = (state.entries.get_mut(pin), state.high.get(pin)) else { return };
        entry.write_half(high, value);
        let message = (!entry.is_masked()).then(|| entry.message());
        // Routes first: KVM has to know the vector before the interrupt that it ends.
        self.sink.routes_changed(pin as u8, message, entry.is_level());
        self.deliver_level(entry, *level);
    }
}

/// The pin whose entry a register index names, and which half of it.
fn table_index(index: u8) -> (Option<usize>, bool) {
    (index.checked_sub(INDEX_TABLE).map(|i| usize::from(i >> 1)), index & 1 != 0)
}

impl BusDevice for Ioapic {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        let state = lock(&self.shared.state);
        let value = match offset {
            SELECT => u32::from(state.select),
            WINDOW => self.shared.read_window(&state),
            _ => return,
        };
        data.fill(0);
        data.iter_mut().zip(value.to_le_bytes()).for_each(|(to, from)| *to = from);
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let mut state = lock(&self.shared.state);
        let first = data.first().copied().unwrap_or(0);
        match (offset, <[u8; 4]>::try_from(data)) {
            // Firmware selects with a byte, Linux with four.
            (SELECT, _) => state.select = first,
            (WINDOW, Ok(value)) => self.shared.write_window(&mut state, u32::from_le_bytes(value)),
            (EOI, _) => self.shared.end(&mut state, first),
            _ => {}
        }
    }
}

impl fmt::Debug for Ioapic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.shared.state);
        let used = state.entries.iter().enumerate().filter(|(_, entry)| !entry.is_masked());
        f.debug_map().entries(used).finish()
    }
}

/// A wire to one pin.
#[derive(Debug, Clone)]
pub struct IoapicLine {
    ioapic: Ioapic,
    pin: u8,
}

impl IrqLine for IoapicLine {
    fn set(&self, high: bool) {
        self.ioapic.set_irq(self.pin, high);
    }
}

#[cfg(test)]
#[path = "ioapic_test.rs"]
mod tests;
