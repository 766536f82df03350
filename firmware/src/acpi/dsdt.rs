//! The DSDT: devices that cannot be found by probing.
//!
//! There is no `_PRT`: every PCI function uses MSI-X, and the platform has no level-triggered interrupts.

use acpi_tables::aml::*;
use acpi_tables::sdt::Sdt;
use acpi_tables::{Aml, AmlSink};

use super::tables::{HEADER_LEN, OEM_ID, OEM_REVISION, OEM_TABLE_ID, last_bus};
use super::{AcpiSpec, SerialPort, ports};

/// DSDT revision 2: integers have 64 bits (ACPI 5.2.11.1).
const REVISION: u8 = 2;

/// Notification value of a pressed power button (ACPI 4.8.2.2.2.2).
const PRESSED: u8 = 0x80;

pub(super) fn dsdt(spec: &AcpiSpec) -> Vec<u8> {
    let mut aml = Vec::new();
    sleep_states(&mut aml);
    power_button(&mut aml);
    pci_root(spec, &mut aml);
    reserved(spec, &mut aml);
    if let Some(serial) = spec.serial {
        com(serial, &mut aml);
    }
    if spec.rtc {
        clock(&mut aml);
    }

    let mut dsdt = Sdt::new(*b"DSDT", HEADER_LEN, REVISION, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    dsdt.append_slice(&aml);
    dsdt.as_slice().to_vec()
}

fn hid(name: &str) -> Name {
    Name::new("_HID".into(), &EISAName::new(name))
}

/// An edge-triggered, active-high interrupt that nobody shares.
fn edge(irq: u32) -> Interrupt {
    Interrupt::new(true, true, false, false, irq)
}

/// `\_S5`: the sleep type that powers off.
fn sleep_states(sink: &mut dyn AmlSink) {
    let package = Package::new(vec![&ports::SLEEP_TYPE_S5, &ZERO, &ZERO, &ZERO]);
    Name::new("_S5_".into(), &package).to_aml_bytes(sink);
}

/// The power button and the generic event device that tells of it (ACPI 5.6.9).
fn power_button(sink: &mut dyn AmlSink) {
    let uid = Name::new("_UID".into(), &ZERO);
    let ged_hid = Name::new("_HID".into(), &"ACPI0013");
    let interrupt = edge(ports::EVENT_IRQ);
    let crs = Name::new("_CRS".into(), &ResourceTemplate::new(vec![&interrupt]));
    let region = OpRegion::new("EVTR".into(), OpRegionSpace::SystemIO, &ports::EVENT, &ONE);
    let field = Field::new(
        "EVTR".into(),
        FieldAccessType::Byte,
        FieldLockRule::NoLock,
        FieldUpdateRule::Preserve,
        vec![FieldEntry::Named(*b"EVTS", 8)],
    );
    // Reading clears, so the byte is read once.
    let status = Path::new("EVTS");
    let read = Store::new(&Local(0), &status);
    let pressed = And::new(&Local(0), &Local(0), &ports::EVENT_POWER_BUTTON);
    let button = Path::new("\\_SB_.PWRB");
    let notify = Notify::new(&button, &PRESSED);
    let if_pressed = If::new(&pressed, vec![&notify]);
    let event = Method::new("_EVT".into(), 1, true, vec![&read, &if_pressed]);

    Device::new("\\_SB_.PWRB".into(), vec![&hid("PNP0C0C"), &uid]).to_aml_bytes(sink);
    Device::new("\\_SB_.GED0".into(), vec![&ged_hid, &uid, &crs, &region, &field, &event]).to_aml_bytes(sink);
}

/// The PCI root: buses, ports and windows that its devices may use.
fn pci_root(spec: &AcpiSpec, sink: &mut dyn AmlSink) {
    /// Ports of the configuration mechanism of PCI 3.0, which are not for devices.
    const CONFIG: (u16, u8) = (0xcf8, 8);

    let cid = Name::new("_CID".into(), &EISAName::new("PNP0A03"));
    let [segment, bus, uid] = ["_SEG", "_BBN", "_UID"].map(|name| Name::new(name.into(), &ZERO));

    let buses = AddressSpace::new_bus_number(0, last_bus(spec));
    let config = IO::new(CONFIG.0, CONFIG.0, 1, CONFIG.1);
    let low_ports = AddressSpace::new_io(0, CONFIG.0 - 1, None);
    let high_ports = AddressSpace::new_io(CONFIG.0 + u16::from(CONFIG.1), 0xffff, None);
    let (uncached, writable) = (AddressSpaceCacheable::NotCacheable, true);
    let window = spec.pci_mmio32;
    let mmio32 =
        AddressSpace::new_memory(uncached, writable, window.start as u32, (window.end() - 1) as u32, None);
    let mmio64 = spec
        .pci_mmio64
        .map(|window| AddressSpace::new_memory(uncached, writable, window.start, window.end() - 1, None));
    let mut resources: Vec<&dyn Aml> = vec![&buses, &config, &low_ports, &high_ports, &mmio32];
    resources.extend(mmio64.as_ref().map(|w| w as &dyn Aml));
    let crs = Name::new("_CRS".into(), &ResourceTemplate::new(resources));

    let root = hid("PNP0A08");
    let children: Vec<&dyn Aml> = vec![&root, &cid, &segment, &bus, &uid, &crs];
    Device::new("\\_SB_.PCI0".into(), children).to_aml_bytes(sink);
}

/// What must be left alone: PCIe configuration space (PCI firmware specification 3.3, 4.1.2 asks for
/// it here as well as in the MCFG) and the platform's own ports.
fn reserved(spec: &AcpiSpec, sink: &mut dyn AmlSink) {
    let ecam = Memory32Fixed::new(true, spec.ecam.start as u32, spec.ecam.size as u32);
    let registers = IO::new(ports::SLEEP, ports::SLEEP, 1, (ports::EVENT - ports::SLEEP + 1) as u8);
    let crs = Name::new("_CRS".into(), &ResourceTemplate::new(vec![&ecam, &registers]));
    let uid = Name::new("_UID".into(), &ZERO);
    Device::new("\\_SB_.MRES".into(), vec![&hid("PNP0C02"), &uid, &crs]).to_aml_bytes(sink);
}

fn com(serial: SerialPort, sink: &mut dyn AmlSink) {
    let (ports, interrupt) = (IO::new(serial.port, serial.port, 1, 8), edge(serial.irq));
    let crs = Name::new("_CRS".into(), &ResourceTemplate::new(vec![&ports, &interrupt]));
    let uid = Name::new("_UID".into(), &ZERO);
    Device::new("\\_SB_.COM1".into(), vec![&hid("PNP0501"), &uid, &crs]).to_aml_bytes(sink);
}

/// The CMOS clock at its ports and interrupt of ever.
fn clock(sink: &mut dyn AmlSink) {
    let (ports, interrupt) = (IO::new(0x70, 0x70, 1, 2), edge(8));
    let crs = Name::new("_CRS".into(), &ResourceTemplate::new(vec![&ports, &interrupt]));
    Device::new("\\_SB_.RTC0".into(), vec![&hid("PNP0B00"), &crs]).to_aml_bytes(sink);
}
