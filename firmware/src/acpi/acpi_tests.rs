use super::*;
use std::collections::BTreeMap;

fn spec() -> AcpiSpec {
    AcpiSpec { serial: Some(SerialPort::COM1), ..AcpiSpec::new(3) }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Every table by its signature, found the way an operating system finds it.
fn tables(blob: &[u8], base: u64) -> BTreeMap<String, Vec<u8>> {
    assert_eq!(&blob[..8], b"RSD PTR ");
    let table = |address: u64| {
        let at = (address - base) as usize;
        let bytes = &blob[at..at + u32_at(blob, at + 4) as usize];
        (String::from_utf8(bytes[..4].to_vec()).unwrap(), bytes.to_vec())
    };
    let (name, xsdt) = table(u64_at(blob, 24));
    let mut all: BTreeMap<_, _> =
        xsdt[36..].as_chunks::<8>().0.iter().map(|a| table(u64::from_le_bytes(*a))).collect();
    let (dsdt_name, dsdt) = table(u64_at(&all["FACP"], 140));
    all.insert(name, xsdt);
    all.insert(dsdt_name, dsdt);
    all
}

#[test]
fn every_table_is_found_and_its_checksum_holds() {
    let blob = build(&spec()).unwrap();
    let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |a, &b| a.wrapping_add(b));
    assert_eq!((sum(&blob[..20]), sum(&blob[..36])), (0, 0), "RSDP");
    let tables = tables(&blob, 0xe_0000);
    assert_eq!(tables.keys().collect::<Vec<_>>(), ["APIC", "DSDT", "FACP", "MCFG", "XSDT"]);
    for (name, table) in &tables {
        assert_eq!(sum(table), 0, "{name}");
    }
    assert!((blob.len() as u64) < GuestLayout::ACPI.size);
}

#[test]
fn the_fadt_is_hardware_reduced_with_our_ports() {
    let fadt = &tables(&build(&spec()).unwrap(), 0xe_0000)["FACP"];
    // WBINVD, power and sleep button, RTC, reset register, headless, hardware reduced.
    assert_eq!(u32_at(fadt, 112), 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 10 | 1 << 12 | 1 << 20);
    assert_eq!(u32_at(fadt, 109) as u16, 0x15);
    for (at, port) in [(116, 0x601), (244, 0x600), (256, 0x600)] {
        assert_eq!(fadt[at..at + 4], [1, 8, 0, 1], "GAS at {at}");
        assert_eq!(u64_at(fadt, at + 4), port);
    }
    assert_eq!((fadt[128], ports::SLEEP_S5), (1, 0x34));
}

#[test]
fn the_madt_numbers_the_vcpus_densely() {
    let madt = &tables(&build(&spec()).unwrap(), 0xe_0000)["APIC"];
    assert_eq!((u32_at(madt, 36), u32_at(madt, 40)), (0xfee0_0000, 0));
    let expected: Vec<u8> = (0..3u8)
        .flat_map(|id| [0, 8, id, id, 1, 0, 0, 0])
        .chain([1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0])
        .chain([4, 6, 0xff, 0, 0, 1])
        .collect();
    assert_eq!(madt[44..], expected);
}

#[test]
fn the_mcfg_covers_every_bus() {
    let mcfg = &tables(&build(&spec()).unwrap(), 0xe_0000)["MCFG"];
    assert_eq!(u64_at(mcfg, 44), 0xe000_0000);
    assert_eq!(mcfg[52..], [0, 0, 0, 255, 0, 0, 0, 0]);
}

#[test]
fn the_same_specification_gives_the_same_bytes() {
    assert_eq!(build(&spec()).unwrap(), build(&spec()).unwrap());
    let base = build(&spec()).unwrap();
    for other in [
        AcpiSpec { vcpus: 4, ..spec() },
        AcpiSpec { serial: None, ..spec() },
        AcpiSpec { rtc: false, ..spec() },
        AcpiSpec { pci_mmio64: Some(MemoryRange::new(1 << 40, 1 << 36)), ..spec() },
        AcpiSpec { base: 0xf_0000, ..spec() },
    ] {
        assert_ne!(build(&other).unwrap(), base);
    }
}

#[test]
fn the_largest_machine_fits_into_its_area() {
    let largest =
        AcpiSpec { vcpus: MAX_VCPUS, pci_mmio64: Some(MemoryRange::new(1 << 40, 1 << 40)), ..spec() };
    assert!((build(&largest).unwrap().len() as u64) < GuestLayout::ACPI.size);
}

#[test]
fn machines_that_cannot_be_described_are_refused() {
    let refused = |spec| build(&spec).unwrap_err();
    assert!(matches!(refused(AcpiSpec::new(0)), AcpiError::Vcpus { vcpus: 0 }));
    assert!(matches!(refused(AcpiSpec::new(255)), AcpiError::Vcpus { vcpus: 255 }));
    for base in [0xe_0008, 1 << 32, !15] {
        assert!(matches!(refused(AcpiSpec { base, ..spec() }), AcpiError::Base { .. }));
    }
    for (start, size) in [
        (0xe000_0000, 0),
        (0xe000_0000, 0x1000),
        (0xe000_0000, 257 << 20),
        (0xe000_1000, 1 << 20),
        (u64::MAX << 20, 1 << 20),
    ] {
        let ecam = MemoryRange::new(start, size);
        assert!(
            matches!(refused(AcpiSpec { ecam, ..spec() }), AcpiError::Ecam { .. }),
            "{start:#x} {size:#x}"
        );
    }
    for (start, size) in [(0xc000_0000, 0), (0xc000_0000, 0x4000_0001), (u64::MAX, 2)] {
        let pci_mmio32 = MemoryRange::new(start, size);
        assert!(matches!(refused(AcpiSpec { pci_mmio32, ..spec() }), AcpiError::Window { .. }));
    }
}
