//! The static tables, and all of them as one block.

use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{EnabledStatus, IoApic, ProcessorLocalApic};
use acpi_tables::mcfg::MCFG;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, AmlSink};

use super::{AcpiSpec, dsdt, ports};

/// OEM id in every table.
pub(super) const OEM_ID: [u8; 6] = *b"CLOIST";
/// OEM table id in every table.
pub(super) const OEM_TABLE_ID: [u8; 8] = *b"CLOISTER";
/// OEM revision in every table: changed with the tables' meaning.
pub(super) const OEM_REVISION: u32 = 1;

/// Bytes in a table's header (ACPI 5.2.6).
pub(super) const HEADER_LEN: u32 = 36;
/// Where the XSDT lies behind the RSDP (36 bytes).
const XSDT_OFFSET: usize = 0x40;
/// Tables that the XSDT lists.
const XSDT_ENTRIES: usize = 3;
/// Alignment of every table.
const ALIGN: usize = 16;

/// FADT boot architecture flags (ACPI 5.2.9.3).
mod boot_arch {
    /// There are devices on the ISA bus: serial port and clock.
    pub(super) const LEGACY_DEVICES: u16 = 1;
    /// There is no VGA to probe for.
    pub(super) const VGA_NOT_PRESENT: u16 = 1 << 2;
    /// ASPM must not be enabled: there are no links.
    pub(super) const NO_ASPM: u16 = 1 << 4;
    /// There is no CMOS clock.
    pub(super) const RTC_NOT_PRESENT: u16 = 1 << 5;
}

/// MADT revision of ACPI 6.5 (5.2.12).
const MADT_REVISION: u8 = 6;
/// Local APIC NMI (ACPI 5.2.12.7): type 4, 6 bytes, all processors, flags of the bus, LINT1.
const LAPIC_NMI: [u8; 6] = [4, 6, 0xff, 0, 0, 1];

pub(super) fn build(spec: &AcpiSpec) -> Vec<u8> {
    let mut blob = Vec::new();
    Rsdp::new(OEM_ID, spec.base + XSDT_OFFSET as u64).to_aml_bytes(&mut blob);
    // The XSDT has its place first and its contents last.
    blob.resize(XSDT_OFFSET + HEADER_LEN as usize + XSDT_ENTRIES * 8, 0);

    let dsdt = place(&mut blob, spec, &dsdt::dsdt(spec));
    let fadt = place(&mut blob, spec, &fadt(spec, dsdt));
    let madt = place(&mut blob, spec, &madt(spec));
    let mcfg = place(&mut blob, spec, &mcfg(spec));

    let mut xsdt = XSDT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    [fadt, madt, mcfg].into_iter().for_each(|address| xsdt.add_entry(address));
    let xsdt = bytes(&xsdt);
    blob[XSDT_OFFSET..][..xsdt.len()].copy_from_slice(&xsdt);
    blob
}

/// Appends a table and returns its address.
fn place(blob: &mut Vec<u8>, spec: &AcpiSpec, table: &[u8]) -> u64 {
    blob.resize(blob.len().next_multiple_of(ALIGN), 0);
    let address = spec.base + blob.len() as u64;
    blob.extend_from_slice(table);
    address
}

fn bytes(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

/// A register of one byte at an I/O port.
fn port(number: u16) -> GAS {
    GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, u64::from(number))
}

fn fadt(spec: &AcpiSpec, dsdt: u64) -> Vec<u8> {
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::Wbinvd)
        // Set: a control method device, not fixed hardware. There is no sleep button, no wake by clock.
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc)
        .flag(Flags::ResetRegSup)
        .flag(Flags::Headless)
        .flag(Flags::HwReducedAcpi);
    let clock = if spec.rtc { 0 } else { boot_arch::RTC_NOT_PRESENT };
    let isa = boot_arch::LEGACY_DEVICES | boot_arch::VGA_NOT_PRESENT | boot_arch::NO_ASPM;
    fadt.iapc_boot_arch = (isa | clock).into();
    fadt.reset_reg = port(ports::RESET);
    fadt.reset_value = ports::RESET_VALUE;
    fadt.sleep_control_reg = port(ports::SLEEP);
    fadt.sleep_status_reg = port(ports::SLEEP);
    bytes(&fadt.finalize())
}

fn madt(spec: &AcpiSpec) -> Vec<u8> {
    let mut body = Vec::new();
    body.dword(spec.lapic);
    // Flags: no PCAT_COMPAT, there is no 8259.
    body.dword(0);
    for id in 0..spec.vcpus as u8 {
        ProcessorLocalApic::new(id, id, EnabledStatus::Enabled).to_aml_bytes(&mut body);
    }
    IoApic::new(0, spec.ioapic, 0).to_aml_bytes(&mut body);
    body.vec(&LAPIC_NMI);
    let mut madt = Sdt::new(*b"APIC", HEADER_LEN, MADT_REVISION, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    madt.append_slice(&body);
    madt.as_slice().to_vec()
}

fn mcfg(spec: &AcpiSpec) -> Vec<u8> {
    let mut mcfg = MCFG::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    mcfg.add_ecam(spec.ecam.start, 0, 0, last_bus(spec) as u8);
    bytes(&mcfg)
}

/// The last bus that the configuration space has room for: 0 to 255.
pub(super) fn last_bus(spec: &AcpiSpec) -> u16 {
    ((spec.ecam.size >> 20) - 1) as u16
}
