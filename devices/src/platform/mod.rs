//! The platform's own devices: serial port, clock, power, I/O APIC, and what firmware asks for.
//!
//! Everything here answers a guest's own accesses on the vCPU's thread, so each access is short, bounded
//! and cannot fail. The byte-wide devices see a wider access as the ISA bus would split it: one access
//! per byte, to ascending ports.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod fw_cfg;
mod i8042;
mod ioapic;
mod ioapic_entry;
mod pm_registers;
mod post_code;
mod power;
mod rtc;
mod serial;
mod serial_input;
#[cfg(test)]
mod test_utils;

pub use fw_cfg::{Blob, Content, FwCfg, FwCfgCounters, FwCfgItems, FwCfgStats, ItemError, Key};
pub use i8042::I8042;
pub use ioapic::{Ioapic, IoapicLine, MsiSink};
pub use pm_registers::PmRegisters;
pub use post_code::PostCode;
pub use power::{PowerButton, PowerDevice, PowerEvent, PowerEvents};
pub use rtc::CmosRtc;
pub use serial::{Serial, SerialCounters};
pub use serial_input::SerialInput;

use std::sync::{Mutex, MutexGuard};

/// Locks, also after a panic elsewhere: the data of these devices is consistent between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// The ports that an access to a byte-wide device touches, with the byte for each.
fn bytes(offset: u64, data: &[u8]) -> impl Iterator<Item = (u64, u8)> + '_ {
    data.iter().enumerate().map(move |(i, byte)| (offset.saturating_add(i as u64), *byte))
}

/// The same for a read.
fn bytes_mut(offset: u64, data: &mut [u8]) -> impl Iterator<Item = (u64, &mut u8)> {
    data.iter_mut().enumerate().map(move |(i, byte)| (offset.saturating_add(i as u64), byte))
}
