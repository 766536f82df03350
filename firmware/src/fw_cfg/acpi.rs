//! ACPI tables with the script by which firmware places them (QEMU's hw/acpi/bios-linker-loader.c,
//! edk2's OvmfPkg/AcpiPlatformDxe/QemuLoader.h).
//!
//! Pointers in the tables count from the start of their file; the script has firmware add where it put
//! that file, and then the checksums.

use crate::acpi::{self, AcpiError, AcpiSpec, SerialPort};
use crate::bytes::{u32_at, u64_at};
use crate::plan::GuestLayout;

/// The file of the tables.
const TABLES: &str = "etc/acpi/tables";
/// The file of the RSDP.
const RSDP: &str = "etc/acpi/rsdp";
/// Bytes in the RSDP (ACPI 6.5, 5.2.5.3), and the places in it.
const RSDP_LEN: usize = 36;
const RSDP_XSDT: usize = 24;
const RSDP_CHECKSUM: usize = 8;
/// What the first checksum covers.
const RSDP_V1_LEN: usize = 20;
const RSDP_EXTENDED_CHECKSUM: usize = 32;
/// Places in every table's header (ACPI 6.5, 5.2.6).
const TABLE_LEN: usize = 4;
const TABLE_CHECKSUM: usize = 9;
const HEADER_LEN: usize = 36;
/// X_DSDT in the FADT (ACPI 6.5, 5.2.9).
const FADT_X_DSDT: usize = 140;

/// Bytes in a command of the script, and in a file's name in it.
const COMMAND_LEN: usize = 128;
const NAME_LEN: usize = 56;
/// Commands.
const ALLOCATE: u32 = 1;
const ADD_POINTER: u32 = 2;
const ADD_CHECKSUM: u32 = 3;
/// Where ALLOCATE puts a file: anywhere, or below 1 MiB where an RSDP is searched for.
const ZONE_HIGH: u8 = 1;
const ZONE_FSEG: u8 = 2;
/// Alignment of both files.
const ALIGN: u32 = 64;
/// Bytes in every pointer of ours.
const POINTER_LEN: u8 = 8;

/// The three files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcpiFiles {
    /// `etc/acpi/tables`.
    pub tables: Vec<u8>,
    /// `etc/acpi/rsdp`.
    pub rsdp: Vec<u8>,
    /// `etc/table-loader`.
    pub loader: Vec<u8>,
}

impl AcpiFiles {
    /// Those of our board: what firmware is offered, and so what a TD's firmware measures.
    pub fn of_board(layout: &GuestLayout, vcpus: u32, serial: bool) -> Result<Self, AcpiError> {
        let serial = serial.then_some(SerialPort::COM1);
        Self::new(&AcpiSpec { serial, pci_mmio32: layout.pci_window(), ..AcpiSpec::new(vcpus) })
    }

    /// The files' names with their contents.
    pub fn named(self) -> [(&'static str, Vec<u8>); 3] {
        [(TABLES, self.tables), (RSDP, self.rsdp), ("etc/table-loader", self.loader)]
    }

    /// The tables of `spec`, wherever firmware will put them.
    pub fn new(spec: &AcpiSpec) -> Result<Self, AcpiError> {
        // At address 0, an address is an offset into the file.
        let mut tables = acpi::build(&AcpiSpec { base: 0, ..spec.clone() })?;
        let mut rsdp = tables[..RSDP_LEN].to_vec();
        let xsdt = offset(&rsdp, RSDP_XSDT);
        tables[..xsdt].fill(0);
        rsdp[RSDP_CHECKSUM] = 0;
        rsdp[RSDP_EXTENDED_CHECKSUM] = 0;

        let mut script = Script::default();
        script.allocate(RSDP, ZONE_FSEG);
        script.allocate(TABLES, ZONE_HIGH);
        script.pointer(RSDP, RSDP_XSDT);
        for entry in (xsdt + HEADER_LEN..xsdt + length(&tables, xsdt)).step_by(usize::from(POINTER_LEN)) {
            script.pointer(TABLES, entry);
            let table = offset(&tables, entry);
            if tables[table..].starts_with(b"FACP") {
                script.pointer(TABLES, table + FADT_X_DSDT);
                script.table_checksum(&mut tables, table);
            }
        }
        script.table_checksum(&mut tables, xsdt);
        script.checksum(RSDP, RSDP_CHECKSUM, 0, RSDP_V1_LEN);
        script.checksum(RSDP, RSDP_EXTENDED_CHECKSUM, 0, RSDP_LEN);
        Ok(AcpiFiles { tables, rsdp, loader: script.0 })
    }
}

/// The pointer at `at` in tables of ours.
fn offset(bytes: &[u8], at: usize) -> usize {
    u64_at(bytes, at).unwrap_or(0) as usize
}

/// The length of the table at `at`.
fn length(tables: &[u8], at: usize) -> usize {
    u32_at(tables, at + TABLE_LEN).unwrap_or(0) as usize
}

/// Commands, one after the other.
#[derive(Default)]
struct Script(Vec<u8>);

impl Script {
    fn allocate(&mut self, file: &str, zone: u8) {
        self.command(ALLOCATE, &[&name(file), &ALIGN.to_le_bytes(), &[zone]]);
    }

    /// Adds where the tables are to the pointer at `at` of `file`.
    fn pointer(&mut self, file: &str, at: usize) {
        self.command(ADD_POINTER, &[&name(file), &name(TABLES), &number(at), &[POINTER_LEN]]);
    }

    /// Puts at `result` what makes the bytes of `[start, start + len)` add up to 0; it is 0 before.
    fn checksum(&mut self, file: &str, result: usize, start: usize, len: usize) {
        self.command(ADD_CHECKSUM, &[&name(file), &number(result), &number(start), &number(len)]);
    }

    fn table_checksum(&mut self, tables: &mut [u8], table: usize) {
        tables[table + TABLE_CHECKSUM] = 0;
        self.checksum(TABLES, table + TABLE_CHECKSUM, table, length(tables, table));
    }

    fn command(&mut self, number: u32, fields: &[&[u8]]) {
        let end = self.0.len() + COMMAND_LEN;
        self.0.extend(number.to_le_bytes());
        fields.iter().for_each(|field| self.0.extend_from_slice(field));
        self.0.resize(end, 0);
    }
}

fn name(file: &str) -> [u8; NAME_LEN] {
    let mut name = [0; NAME_LEN];
    name[..file.len()].copy_from_slice(file.as_bytes());
    name
}

fn number(n: usize) -> [u8; 4] {
    (n as u32).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Does what firmware does: the files at addresses of their own.
    fn run(files: AcpiFiles, bases: &HashMap<String, u64>) -> HashMap<String, Vec<u8>> {
        let script = files.loader.clone();
        let mut files: HashMap<_, _> = files.named().map(|(n, b)| (n.to_owned(), b)).into();
        let mut placed = Vec::new();
        for c in script.chunks_exact(128) {
            let text = |at: usize| {
                let end = c[at..].iter().position(|b| *b == 0).unwrap();
                String::from_utf8(c[at..at + end].to_vec()).unwrap()
            };
            let int = |at: usize| u32::from_le_bytes(c[at..at + 4].try_into().unwrap()) as usize;
            match int(0) {
                1 => placed.push(text(4)),
                2 => {
                    let (src, at) = (text(60), int(116));
                    assert!(placed.contains(&text(4)) && placed.contains(&src) && c[120] == 8);
                    let target = files[&src].len() as u64;
                    let field = &mut files.get_mut(&text(4)).unwrap()[at..at + 8];
                    let value = u64::from_le_bytes(field.try_into().unwrap());
                    assert!(value < target);
                    field.copy_from_slice(&(value + bases[&src]).to_le_bytes());
                }
                3 => {
                    let file = files.get_mut(&text(4)).unwrap();
                    let (result, start, len) = (int(60), int(64), int(68));
                    assert_eq!(file[result], 0);
                    let sum = file[start..start + len].iter().fold(0u8, |s, b| s.wrapping_add(*b));
                    file[result] = sum.wrapping_neg();
                }
                other => panic!("command {other}"),
            }
        }
        files
    }

    #[test]
    fn a_loader_that_follows_the_script_gets_the_tables_of_that_address() {
        let spec = AcpiSpec::new(3);
        let base = 0x7fe0_0000;
        let bases = HashMap::from([(TABLES.to_owned(), base), (RSDP.to_owned(), 0xf_0000)]);
        let files = run(AcpiFiles::new(&spec).unwrap(), &bases);
        let mut whole = acpi::build(&AcpiSpec { base, ..spec }).unwrap();
        assert_eq!(files[RSDP], whole[..36]);
        whole[..0x40].fill(0);
        assert_eq!(files[TABLES], whole);
    }

    #[test]
    fn the_board_s_tables_say_what_it_has() {
        let firmware = Some(crate::plan::MemoryRange::new(0xffc0_0000, 0x40_0000));
        let layout = GuestLayout { firmware, ..GuestLayout::new(512 << 20) };
        let of = |vcpus, serial| AcpiFiles::of_board(&layout, vcpus, serial).unwrap();
        let window = AcpiSpec { pci_mmio32: layout.pci_window(), ..AcpiSpec::new(2) };
        assert_eq!(of(2, false), AcpiFiles::new(&window).unwrap());
        assert_ne!(of(2, false).tables, AcpiFiles::new(&AcpiSpec::new(2)).unwrap().tables);
        assert_ne!(of(2, true).tables, of(2, false).tables);
        assert_ne!(of(3, false).tables, of(2, false).tables);
    }

    #[test]
    fn the_same_machine_has_the_same_files() {
        let build = || AcpiFiles::new(&AcpiSpec::new(2)).unwrap();
        assert_eq!(build(), build());
    }
}
