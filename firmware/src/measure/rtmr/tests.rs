use std::io::Cursor;

use super::*;
use crate::ovmf::Guid;
use crate::plan::MemoryRange;
use crate::test_firmware::{FirmwareBuilder, INTEL_TDX};

fn sha384(bytes: &[u8]) -> Digest384 {
    Digest384(Sha384::digest(bytes).into())
}

/// A PE32+ file with two sections, in the other order in its table, some bytes behind them, and signatures.
fn pe() -> Vec<u8> {
    let mut pe = vec![0; 0x400];
    for (n, byte) in pe.iter_mut().enumerate().skip(0x200) {
        *byte = (n / 3) as u8;
    }
    let mut put = |at: usize, bytes: &[u8]| pe[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &[0x40]);
    put(0x40, b"PE\0\0");
    put(0x46, &[2, 0]);
    put(0x54, &[0xa0, 0]);
    let optional = 0x58;
    put(optional, &0x20bu16.to_le_bytes());
    put(optional + 60, &0x200u32.to_le_bytes());
    put(optional + 64, b"CSUM");
    put(optional + 108, &6u32.to_le_bytes());
    put(optional + 144, &0x3e0u32.to_le_bytes());
    put(optional + 148, &0x20u32.to_le_bytes());
    let table = optional + 0xa0;
    for (n, (size, offset)) in [(0x80u32, 0x300u32), (0x100, 0x200)].into_iter().enumerate() {
        put(table + n * 40 + 16, &size.to_le_bytes());
        put(table + n * 40 + 20, &offset.to_le_bytes());
    }
    pe
}

#[test]
fn programs_are_hashed_without_checksum_and_signatures() {
    let pe = pe();
    let hash = authenticode_sha384(&mut Cursor::new(&pe)).unwrap();
    let optional = 0x58;
    let parts = [&pe[..optional + 64], &pe[optional + 68..optional + 144], &pe[optional + 152..0x3e0]];
    assert_eq!(hash, sha384(&parts.concat()));

    let mut resigned = pe.clone();
    resigned[0x3e0..].fill(9);
    resigned[optional + 64] = 1;
    assert_eq!(authenticode_sha384(&mut Cursor::new(&resigned)).unwrap(), hash);
    let mut changed = pe;
    changed[0x3df] ^= 1;
    assert_ne!(authenticode_sha384(&mut Cursor::new(&changed)).unwrap(), hash);
}

#[test]
fn programs_that_are_none() {
    let with = |at: usize, bytes: &[u8]| {
        let mut pe = pe();
        pe[at..at + bytes.len()].copy_from_slice(bytes);
        authenticode_sha384(&mut Cursor::new(pe)).unwrap_err()
    };
    let optional = 0x58;
    let empty = authenticode_sha384(&mut Cursor::new(&[]));
    assert!(matches!(empty, Err(PeError::NotPe)));
    assert!(matches!(with(0, b"ZM"), PeError::NotPe));
    assert!(matches!(with(0x3c, &[0xff; 4]), PeError::NotPe));
    assert!(matches!(with(optional, &[0, 0]), PeError::Header { .. }));
    assert!(matches!(with(optional + 60, &[0xff; 4]), PeError::Header { what: "size of headers", .. }));
    assert!(matches!(with(optional + 60, &[1, 0, 0, 0]), PeError::Header { what: "size of headers", .. }));
    assert!(matches!(with(optional + 148, &[0xff; 4]), PeError::Header { what: "size of signatures", .. }));
    assert!(matches!(with(0x46, &[0xff; 2]), PeError::Header { .. }));
    let section = optional + 0xa0;
    assert!(matches!(with(section + 20, &[0xff; 4]), PeError::Header { what: "end of a section", .. }));
    let wide = [0u32.to_le_bytes(), 0x400u32.to_le_bytes(), 0u32.to_le_bytes()].concat();
    assert!(matches!(with(section + 12, &wide), PeError::Header { what: "sum of section sizes", .. }));
}

/// A volume with these variables: state, vendor, name, data.
fn volume(variables: &[(u8, Guid, &str, &[u8])]) -> Vec<u8> {
    let mut volume = vec![0; 0x48];
    volume[0x28..0x2c].copy_from_slice(b"_FVH");
    volume[0x30] = 0x48;
    volume.extend(Guid::new(0xaaf32c78_947b_439a_a180_2e144ec37792).0);
    volume.extend([0; 12]);
    for (state, guid, name, data) in variables {
        let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        volume.extend([0xaa, 0x55, *state, 0]);
        volume.extend([0; 32]);
        volume.extend((name.len() as u32).to_le_bytes());
        volume.extend((data.len() as u32).to_le_bytes());
        volume.extend(guid.0);
        volume.extend(name);
        volume.extend(*data);
        volume.resize(volume.len().next_multiple_of(4), 0xff);
    }
    volume.resize(0x1000, 0xff);
    volume[0x48 + 16..0x48 + 20].copy_from_slice(&(0x1000u32 - 0x48).to_le_bytes());
    volume
}

const GLOBAL: Guid = Guid::new(0x8be4df61_93ca_11d2_aa0d_00e098032b8c);

#[test]
fn variables_are_found_as_the_firmware_has_them() {
    let keys = volume(&[
        (0x3d, GLOBAL, "PK", b"deleted"),
        (0x3e, GLOBAL, "KEK", b"old"),
        (0x3f, GLOBAL, "KEK", b"new"),
        (0x3f, GLOBAL, "PK", b"key"),
        (0x3f, GLOBAL, "db", b"not in this namespace"),
    ]);
    let found = secure_boot_variables(&keys).unwrap();
    let found: Vec<_> = found.iter().map(|v| (v.name, v.data.as_slice())).collect();
    assert_eq!(found, [("SecureBoot", &[1][..]), ("PK", b"key"), ("KEK", b"new"), ("db", b""), ("dbx", b"")]);
    assert_eq!(secure_boot_variables(&volume(&[])).unwrap()[0].data, [0]);
    assert_eq!(secure_boot_variables(&[0xff; 0x1000]), None);
    for cut in 0..0x80 {
        assert_eq!(secure_boot_variables(&keys[..cut]), None);
    }
}

#[test]
fn what_is_measured_of_a_variable() {
    let variable = SecureBootVariable { name: "db", guid: GLOBAL, data: vec![1, 2] };
    let want = [&GLOBAL.0[..], &[2, 0, 0, 0, 0, 0, 0, 0], &[2, 0, 0, 0, 0, 0, 0, 0], b"d\0b\0", &[1, 2]];
    assert_eq!(variable.measured_bytes(), want.concat());
}

#[test]
fn registers_and_their_events() {
    // Metadata, variables, code: a page each.
    let mut sections = INTEL_TDX;
    (sections[0].0, sections[1].0) = (0x2000, 0x1000);
    let image = FirmwareBuilder::new(3).tdvf(&sections);
    let firmware = image.clone().put(0x1000, &volume(&[])).build();
    let ram = [MemoryRange::new(0, 64 << 20)];
    let kernel = TdKernel {
        image: Digest384([7; 48]),
        initrd: Some(Digest384([8; 48])),
        cmdline: "quiet".into(),
        options: LoadOptions::InitrdFirst,
    };
    let boot = TdBoot { firmware: &firmware, ram: &ram, acpi: None, kernel: Some(kernel.clone()) };
    let [rtmr0, rtmr1, rtmr2, rtmr3] = predict_rtmrs(&boot).unwrap();
    let what: Vec<_> = rtmr0.events.iter().map(|e| e.what.as_str()).collect();
    assert_eq!(
        what[2..],
        ["variable SecureBoot", "variable PK", "variable KEK", "variable db", "variable dbx", "separator"]
    );
    assert_eq!((rtmr0.events.len(), rtmr0.unknown.len()), (8, 2));
    let acpi = [("etc/table-loader".to_owned(), vec![1])];
    let [with_acpi, ..] = predict_rtmrs(&TdBoot { acpi: Some(&acpi), ..boot.clone() }).unwrap();
    assert_eq!((with_acpi.events.len(), with_acpi.unknown.len()), (9, 1));
    let bare = image.build();
    let [bare, ..] = predict_rtmrs(&TdBoot { firmware: &bare, ..boot.clone() }).unwrap();
    assert_eq!(bare.events.len(), 2, "what is no variable store ends what is known");

    assert_eq!(rtmr1.events.len(), 5);
    assert!(rtmr1.is_complete() && rtmr2.is_complete() && rtmr3.is_complete());
    assert_eq!(rtmr1.events[0].value, sha384(&[[0; 48], [7; 48]].concat()));
    let wide: Vec<u8> = "initrd=initrd quiet\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(rtmr2.events[0].digest, sha384(&wide));
    assert_eq!(rtmr2.events.len(), 2);
    assert_eq!(rtmr3.value(), Digest384::ZERO);

    let older = TdKernel { options: LoadOptions::InitrdLast, ..kernel };
    let [.., rtmr2, _] = predict_rtmrs(&TdBoot { kernel: Some(older), ..boot.clone() }).unwrap();
    assert_eq!(rtmr2.events[0].what, "load options `quiet initrd=initrd`");
    let [_, rtmr1, rtmr2, _] = predict_rtmrs(&TdBoot { kernel: None, ..boot }).unwrap();
    assert!(!rtmr1.is_complete() && !rtmr2.is_complete());
}
