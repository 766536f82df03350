//! ACPI tables for guests that boot without firmware (ACPI specification 6.5).
//!
//! A hardware-reduced platform: no fixed hardware, no SCI, no 8259, no PIT, no PM timer. What is left:
//!
//! | table | says |
//! |---|---|
//! | RSDP, XSDT | where the others are |
//! | FADT | hardware-reduced, sleep and reset registers as ports |
//! | MADT | one local APIC per vCPU, one I/O APIC, NMI on LINT1 |
//! | MCFG | PCIe configuration space |
//! | DSDT | PCI root, serial port, clock, power button, reserved resources |
//!
//! The tables are measured, so they hold nothing of the host: the same specification gives the same
//! bytes on every machine.

mod dsdt;
mod error;
mod tables;

pub use error::AcpiError;

use snafu::ensure;

use crate::plan::{GuestLayout, MAX_VCPUS, MemoryRange};
use error::*;

/// Ports and values of the platform's own registers; devices and tables must agree on them.
pub mod ports {
    /// Sleep control and sleep status register, one byte (ACPI 4.8.3.7).
    ///
    /// As it is both, guests also write a status to it: Linux clears WAK_STS with 0x80 before it
    /// sleeps. Only a write with SLP_EN (bit 5) asks for something; reads give 0.
    pub const SLEEP: u16 = 0x600;
    /// Reset register, one byte (ACPI 4.8.3.6).
    pub const RESET: u16 = 0x601;
    /// What is written to [`RESET`] to reset the machine.
    pub const RESET_VALUE: u8 = 1;
    /// Pending events, one byte; reading clears it.
    pub const EVENT: u16 = 0x602;
    /// Bit of [`EVENT`]: the power button was pressed.
    pub const EVENT_POWER_BUTTON: u8 = 1;
    /// Sleep type of S5, soft off.
    pub const SLEEP_TYPE_S5: u8 = 5;
    /// What a guest writes to [`SLEEP`] to power off: the sleep type in bits 4:2, SLP_EN in bit 5.
    pub const SLEEP_S5: u8 = SLEEP_TYPE_S5 << 2 | 1 << 5;
    /// Edge-triggered interrupt that says that [`EVENT`] has something.
    pub const EVENT_IRQ: u32 = 9;
}

/// A 16550 serial port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SerialPort {
    /// First of its 8 ports.
    pub port: u16,
    /// Its edge-triggered interrupt.
    pub irq: u32,
}

impl SerialPort {
    /// COM1, where everyone expects it.
    pub const COM1: SerialPort = SerialPort { port: 0x3f8, irq: 4 };
}

/// What the tables describe. [`AcpiSpec::new`] is the machine that we build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcpiSpec {
    /// Number of vCPUs; their APIC ids are 0, 1, 2, …
    pub vcpus: u32,
    /// Guest-physical address of the tables, a multiple of 16.
    pub base: u64,
    /// PCIe configuration space, 1 MiB for each bus from 0 on, below 4 GiB.
    pub ecam: MemoryRange,
    /// Window for 32-bit BARs, below 4 GiB.
    pub pci_mmio32: MemoryRange,
    /// Window for 64-bit BARs, if there is one.
    pub pci_mmio64: Option<MemoryRange>,
    /// Address of the I/O APIC, whose id is 0 and whose interrupts begin at 0.
    pub ioapic: u32,
    /// Address of the local APICs.
    pub lapic: u32,
    /// Serial port, if there is one.
    pub serial: Option<SerialPort>,
    /// Whether there is a CMOS clock at ports 0x70 and 0x71.
    pub rtc: bool,
}

impl AcpiSpec {
    /// The machine with [`GuestLayout`]'s windows and a clock, without a serial port.
    pub fn new(vcpus: u32) -> Self {
        AcpiSpec {
            vcpus,
            base: GuestLayout::ACPI.start,
            ecam: GuestLayout::ECAM,
            pci_mmio32: GuestLayout::PCI_MMIO,
            pci_mmio64: None,
            ioapic: GuestLayout::IOAPIC.start as u32,
            lapic: GuestLayout::LAPIC.start as u32,
            serial: None,
            rtc: true,
        }
    }

    fn check(&self) -> Result<(), AcpiError> {
        ensure!((1..=MAX_VCPUS).contains(&self.vcpus), VcpusSnafu { vcpus: self.vcpus });
        let aligned = self.base.is_multiple_of(16) && self.base < 1 << 32;
        ensure!(aligned, BaseSnafu { base: self.base });
        let MemoryRange { start, size } = self.ecam;
        let buses = size >> 20;
        let whole = size == buses << 20 && (1..=256).contains(&buses) && start.is_multiple_of(1 << 20);
        ensure!(whole && below_4_gib(self.ecam), EcamSnafu { start, size });
        let MemoryRange { start, size } = self.pci_mmio32;
        ensure!(size > 0 && below_4_gib(self.pci_mmio32), WindowSnafu { start, size });
        if let Some(MemoryRange { start, size }) = self.pci_mmio64 {
            ensure!(size > 0 && start.checked_add(size).is_some(), WindowSnafu { start, size });
        }
        Ok(())
    }
}

fn below_4_gib(range: MemoryRange) -> bool {
    range.start.checked_add(range.size).is_some_and(|end| end <= 1 << 32)
}

/// Builds the tables for `spec.base`, RSDP first.
pub fn build(spec: &AcpiSpec) -> Result<Vec<u8>, AcpiError> {
    spec.check()?;
    Ok(tables::build(spec))
}

#[cfg(test)]
#[path = "acpi_tests.rs"]
mod tests;
