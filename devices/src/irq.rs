//! Interrupts as devices see them. The board implements these over KVM; tests over counters.

use std::io;
use std::sync::Arc;

/// What an MSI-X table entry holds: where to write, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MsiMessage {
    /// Message address (low and high halves of the entry).
    pub address: u64,
    /// Message data.
    pub data: u32,
}

/// One MSI-X vector as the board offers it: something that becomes an interrupt when triggered.
pub trait MsiVector: Send + Sync {
    /// Makes the interrupt happen. May be called from any thread; never blocks.
    fn trigger(&self) -> io::Result<()>;
    /// The guest (un)programmed the vector: `None` while it is masked or MSI-X is off.
    fn program(&self, message: Option<MsiMessage>) -> io::Result<()>;
}

/// Hands out MSI-X vectors to devices while the machine is put together.
pub trait MsiAllocator {
    /// `count` fresh vectors, all masked.
    fn allocate(&self, count: u16) -> io::Result<Vec<Arc<dyn MsiVector>>>;
}

/// A wired interrupt line (serial, RTC, ACPI), level or pulse by its user.
pub trait IrqLine: Send + Sync {
    /// Drives the line high or low.
    fn set(&self, high: bool);
}
