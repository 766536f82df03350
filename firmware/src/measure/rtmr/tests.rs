use std::io::{Cursor, Write};

use lzma_rust2::{LzmaOptions, LzmaWriter};

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
    let found = secure_boot_variables(&keys, true).unwrap();
    let found: Vec<_> = found.iter().map(|v| (v.name, v.data.as_slice())).collect();
    assert_eq!(found, [("SecureBoot", &[1][..]), ("PK", b"key"), ("KEK", b"new"), ("db", b""), ("dbx", b"")]);
    assert_eq!(secure_boot_variables(&volume(&[]), true).unwrap()[0].data, [0]);
    assert!(secure_boot_variables(&keys, false).unwrap()[0].data.is_empty());
    assert_eq!(secure_boot_variables(&[0xff; 0x1000], true), None);
    for cut in 0..0x80 {
        assert_eq!(secure_boot_variables(&keys[..cut], true), None);
    }
}

#[test]
fn secure_boot_can_be_switched_off_and_time_stamps_count() {
    let enable = Guid::new(0xf0a30bc7_af08_4556_99c4_001009c93a44);
    let security = Guid::new(0xd719b2cb_3d3a_4596_a3bc_dad00e67656f);
    let stored = volume(&[
        (0x3f, GLOBAL, "PK", b"key"),
        (0x3f, enable, "SecureBootEnable", &[0]),
        (0x3f, security, "dbt", b"stamp"),
    ]);
    let found = secure_boot_variables(&stored, true).unwrap();
    assert_eq!((found[0].data.as_slice(), found.len(), found[5].name), (&[0][..], 6, "dbt"));
}

#[test]
fn what_is_measured_of_a_variable() {
    let variable = SecureBootVariable { name: "db", guid: GLOBAL, data: vec![1, 2] };
    let want = [&GLOBAL.0[..], &[2, 0, 0, 0, 0, 0, 0, 0], &[2, 0, 0, 0, 0, 0, 0, 0], b"d\0b\0", &[1, 2]];
    assert_eq!(variable.measured_bytes(), want.concat());
}

/// A section: type, contents.
fn section(kind: u8, contents: &[u8]) -> Vec<u8> {
    let size = (contents.len() as u32 + 4).to_le_bytes();
    let mut bytes = vec![size[0], size[1], size[2], kind];
    bytes.extend(contents);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

const VOLUME: Guid = Guid::new(0x7cb8bdc9_f8eb_4f34_aaea_3ee4af6516a1);
const MEASURES: Guid = Guid::new(0xf062221e_c607_44c2_b0b4_c3886331d351);
const SMBIOS: Guid = Guid::new(0xd27fed59_abb4_4fed_bead_2a878c7e4a7e);
const SETUP: Guid = Guid::new(0x462caa21_7614_4503_836e_8ab6f4662331);
const MENU: Guid = Guid::new(0xeec25bdc_67f2_4d95_b1d5_f81b2039d11d);

/// A volume with an extended header, and a file for each: name, sections.
fn driver_volume(files: &[(Guid, Vec<u8>)]) -> Vec<u8> {
    let mut volume = vec![0; 0x60];
    volume[0x28..0x2c].copy_from_slice(b"_FVH");
    volume[0x30] = 0x48;
    volume[0x34] = 0x48;
    volume[0x48..0x58].copy_from_slice(&VOLUME.0);
    volume[0x58] = 20;
    for (name, sections) in files {
        let size = (sections.len() as u32 + 24).to_le_bytes();
        volume.extend(name.0);
        volume.extend([0, 0, 7, 0, size[0], size[1], size[2], 0]);
        volume.extend(sections);
        volume.resize(volume.len().next_multiple_of(8), 0xff);
    }
    volume.resize(volume.len() + 64, 0xff);
    let len = volume.len() as u64;
    volume[0x20..0x28].copy_from_slice(&len.to_le_bytes());
    volume
}

/// A packed section with such a volume.
fn packed(files: &[(Guid, Vec<u8>)]) -> Vec<u8> {
    let drivers = [section(0x19, &[0; 8]), section(0x17, &driver_volume(files))].concat();
    let mut lzma = Vec::new();
    let options = LzmaOptions::with_preset(1);
    let mut writer = LzmaWriter::new_use_header(&mut lzma, &options, Some(drivers.len() as u64)).unwrap();
    writer.write_all(&drivers).unwrap();
    writer.finish().unwrap();
    let guid = Guid::new(0xee4e5898_3914_4259_9d6e_dc7bd79403cf);
    section(2, &[&guid.0[..], &[24, 0, 1, 0], &lzma].concat())
}

/// Drivers of old: what measures, and the setup program under its own name.
fn drivers(more: &[&[u8]]) -> Vec<(Guid, Vec<u8>)> {
    let code = [&[&b"initrd=initrd \0"[..]], more].concat().concat();
    vec![(MEASURES, section(0x10, &code)), (SETUP, section(0x15, &wide("UiApp")))]
}

/// Metadata, variables, code, drivers: a page each.
fn image(files: &[(Guid, Vec<u8>)], variables: &[u8]) -> FirmwareBuilder {
    let mut sections = INTEL_TDX;
    (sections[0].0, sections[1].0) = (0x2000, 0x1000);
    FirmwareBuilder::new(4).tdvf(&sections).put(0x1000, variables).put(0x3000, &packed(files))
}

fn kernel() -> TdKernel {
    TdKernel {
        image: Digest384([7; 48]),
        initrd: Some(Digest384([8; 48])),
        cmdline: "quiet".into(),
        options: None,
    }
}

const RAM: [MemoryRange; 1] = [MemoryRange { start: 0, size: 64 << 20 }];

/// The registers of that image with a kernel and ACPI tables.
fn rtmrs(files: &[(Guid, Vec<u8>)], variables: &[u8], fw_cfg: &[(String, Vec<u8>)]) -> [Rtmr; 4] {
    let firmware = image(files, variables).build();
    let acpi = [("etc/table-loader".to_owned(), Digest384([9; 48]))];
    let kernel = Some(kernel());
    predict_rtmrs(&TdBoot {
        firmware: &firmware,
        ram: Some(&RAM),
        fw_cfg: Some(fw_cfg),
        acpi: Some(&acpi),
        kernel,
    })
    .unwrap()
}

fn names(rtmr: &Rtmr) -> Vec<&str> {
    rtmr.events.iter().map(|e| e.what.as_str()).collect()
}

const VARIABLES: [&str; 6] =
    ["variable SecureBoot", "variable PK", "variable KEK", "variable db", "variable dbx", "separator"];

/// A TD's event log (`cc-eventlog/samples/ccel.bin` of Dstack-TEE/dstack, commit 312dc605), from hardware: the
/// same volume and setup program, no Secure Boot.
#[test]
fn boot_options_are_those_of_a_real_td() {
    let [rtmr0, ..] = rtmrs(&drivers(&[]), &volume(&[]), &[]);
    assert!(rtmr0.is_complete());
    assert_eq!(names(&rtmr0)[2..8], VARIABLES);
    assert_eq!(names(&rtmr0)[8..], ["etc/table-loader", "BootOrder", "Boot0000"]);
    let logged = [
        (
            2,
            "9dc3a1f80bcec915391dcda5ffbb15e7419f77eab462bbf72b42166fb70d50325e37b36f93537a863769bcf9bedae6fb",
        ),
        (
            3,
            "6f2e3cbc14f9def86980f5f66fd85e99d63e69a73014ed8a5633ce56eca5b64b692108c56110e22acadcef58c3250f1b",
        ),
        (
            4,
            "d607c0efb41c0d757d69bca0615c3a9ac0b1db06c557d992e906c6b7dee40e0e031640c7bfd7bcd35844ef9edeadc6f9",
        ),
        (
            5,
            "08a74f8963b337acb6c93682f934496373679dd26af1089cb4eaf0c30cf260a12e814856385ab8843e56a9acea19e127",
        ),
        (
            6,
            "18cc6e01f0c6ea99aa23f8a280423e94ad81d96d0aeb5180504fc0f7a40cb3619dd39bd6a95ec1680a86ed6ab0f9828d",
        ),
        (
            7,
            "394341b7182cd227c5c6b07ef8000cdfd86136c4292b8e576573ad7ed9ae41019f5818b4b971c9effc60e1ad9f1289f0",
        ),
        (
            9,
            "1dd6f7b457ad880d840d41c961283bab688e94e4b59359ea45686581e90feccea3c624b1226113f824f315eb60ae0a7c",
        ),
        (
            10,
            "23ada07f5261f12f34a0bd8e46760962d6b4d576a416f1fea1c64bc656b1d28eacf7047ae6e967c58fd2a98bfa74c298",
        ),
    ];
    for (index, digest) in logged {
        assert_eq!(rtmr0.events[index].digest.to_string(), digest, "{}", rtmr0.events[index].what);
    }
}

#[test]
fn newer_firmware_measures_items_of_fw_cfg() {
    let files = [
        ("bootorder", 5),
        ("etc/boot-menu-wait", 2),
        ("etc/extra-pci-roots", 8),
        // Another size than the firmware takes, and what it does not measure.
        ("etc/reserved-memory-end", 4),
        ("etc/e820", 20),
    ];
    let files = files.map(|(name, size)| (name.to_owned(), vec![1; size]));
    let [rtmr0, ..] = rtmrs(&drivers(&[b"QEMU FW CFG\0"]), &volume(&[]), &files);
    let items =
        ["fw_cfg etc/extra-pci-roots", "fw_cfg BootMenu", "fw_cfg etc/boot-menu-wait", "fw_cfg bootorder"];
    assert_eq!(names(&rtmr0)[2..6], items);
    assert_eq!(rtmr0.events[3].digest, sha384(&[0, 0]));
    assert_eq!(names(&rtmr0)[6..12], VARIABLES);
    let [older, ..] = rtmrs(&drivers(&[]), &volume(&[]), &files);
    assert_eq!(names(&older)[2..8], VARIABLES);
}

/// Nothing comes after what is not known, so that no value is told for certain that is not.
#[test]
fn what_is_not_certain_is_not_predicted() {
    let end = |files: &[(Guid, Vec<u8>)], variables: &[u8]| {
        let [rtmr0, ..] = rtmrs(files, variables, &[]);
        assert_eq!(rtmr0.unknown.len(), 1);
        (names(&rtmr0).last().unwrap().to_string(), rtmr0.unknown[0].split(':').next().unwrap().to_owned())
    };
    let plain = volume(&[]);
    let with = |name: Guid| [drivers(&[]), vec![(name, Vec::new())]].concat();
    let told = |last: &str, unknown: &str| (last.to_owned(), unknown.to_owned());
    let options = "BootOrder and Boot####";
    let setup = wide("EFI Firmware Setup");
    assert_eq!(end(&with(SMBIOS), &plain), told("etc/table-loader", "SMBIOS tables, BootOrder and Boot####"));
    assert_eq!(end(&with(MENU), &plain), told("etc/table-loader", options));
    assert_eq!(end(&drivers(&[&setup]), &plain), told("etc/table-loader", options));
    assert_eq!(end(&drivers(&[])[..1], &plain), told("etc/table-loader", options));
    let cfv = "configuration firmware volume";
    assert_eq!(end(&drivers(&[])[1..], &plain), told(cfv, "everything else"));
    assert_eq!(end(&drivers(&[]), &[]), told(cfv, "Secure Boot variables"));
    let keys = volume(&[(0x3f, GLOBAL, "PK", b"key")]);
    let secure = drivers(&[&wide("certdb")]);
    assert_eq!(end(&secure, &keys), told("etc/table-loader", "the key that the kernel is accepted with"));
    assert_eq!(rtmrs(&secure, &plain, &[])[0].events[2].digest, sha384(&variable_off()));
    // A kernel that is refused leaves nothing behind.
    let basis = |variables: &[u8]| {
        let [_, rtmr1, rtmr2, _] = rtmrs(&secure, variables, &[]);
        [rtmr1.events[0].assumption, rtmr2.events[0].assumption, rtmr2.events[1].assumption]
    };
    assert_eq!(basis(&keys), [Some("Secure Boot accepts the kernel"); 3]);
    assert_eq!(basis(&plain), [None; 3]);
}

/// `SecureBoot` of a firmware that has it, without keys.
fn variable_off() -> Vec<u8> {
    SecureBootVariable { name: "SecureBoot", guid: GLOBAL, data: vec![0] }.measured_bytes()
}

#[test]
fn a_disk_or_unknown_tables_end_what_is_known() {
    let firmware = image(&drivers(&[]), &volume(&[])).build();
    let boot = TdBoot {
        firmware: &firmware,
        ram: Some(&RAM),
        fw_cfg: Some(&[]),
        acpi: None,
        kernel: Some(kernel()),
    };
    let [rtmr0, ..] = predict_rtmrs(&boot).unwrap();
    assert!(rtmr0.unknown[0].starts_with("ACPI") && names(&rtmr0).len() == 8);
    let [rtmr0, ..] = predict_rtmrs(&TdBoot { ram: None, ..boot.clone() }).unwrap();
    assert!(rtmr0.unknown[0].starts_with("anything") && rtmr0.events.is_empty());
    let acpi = [("etc/table-loader".to_owned(), Digest384([9; 48]))];
    let disk = predict_rtmrs(&TdBoot { acpi: Some(&acpi), kernel: None, ..boot }).unwrap();
    assert_eq!(disk.each_ref().map(Rtmr::is_complete), [false, false, false, true]);
}

#[test]
fn programs_and_what_they_are_told() {
    let [_, rtmr1, rtmr2, rtmr3] = rtmrs(&drivers(&[]), &volume(&[]), &[]);
    assert_eq!(rtmr1.events.len(), 5);
    assert!(rtmr1.is_complete() && rtmr2.is_complete() && rtmr3.is_complete());
    assert_eq!(rtmr1.events[0].value, sha384(&[[0; 48], [7; 48]].concat()));
    assert_eq!(rtmr2.events[0].digest, sha384(&wide("initrd=initrd quiet")));
    assert_eq!(rtmr2.events.len(), 2);
    assert_eq!(rtmr3.value(), Digest384::ZERO);

    let firmware = image(&drivers(&[]), &volume(&[])).build();
    let told = |kernel: TdKernel| {
        let kernel = Some(kernel);
        let boot = TdBoot { firmware: &firmware, ram: Some(&RAM), fw_cfg: Some(&[]), acpi: None, kernel };
        let [_, _, rtmr2, _] = predict_rtmrs(&boot).unwrap();
        rtmr2.events.iter().map(|e| (e.what.clone(), e.digest)).collect::<Vec<_>>()
    };
    let last = told(TdKernel { options: Some(LoadOptions::InitrdLast), ..kernel() });
    assert_eq!(last[0].0, "load options `quiet initrd=initrd`");
    // The firmware makes a character of every byte.
    let bytes = told(TdKernel { initrd: None, cmdline: "ä".into(), ..kernel() });
    assert_eq!(bytes[0].1, sha384(&[0xc3, 0, 0xa4, 0, 0, 0]));
    assert!(told(TdKernel { initrd: None, cmdline: String::new(), ..kernel() }).is_empty());
}

#[test]
fn drivers_that_cannot_be_read() {
    let good = packed(&drivers(&[]));
    let with = |packed: &[u8]| {
        let mut sections = INTEL_TDX;
        (sections[0].0, sections[1].0) = (0x2000, 0x1000);
        let image = FirmwareBuilder::new(4).tdvf(&sections).put(0x1000, &volume(&[]));
        let firmware = image.put(0x3000, packed).build();
        let boot = TdBoot {
            firmware: &firmware,
            ram: Some(&RAM),
            fw_cfg: Some(&[]),
            acpi: None,
            kernel: Some(kernel()),
        };
        predict_rtmrs(&boot).unwrap()
    };
    assert_eq!(with(&good)[0].events.len(), 8);
    for cut in 0..good.len() / 2 {
        let [rtmr0, rtmr1, rtmr2, _] = with(&good[..cut]);
        assert_eq!(rtmr0.events.len(), 2, "{cut}");
        assert!(rtmr1.events.iter().all(|e| e.assumption.is_some()), "{cut}");
        assert!(!rtmr2.is_complete());
    }
    // It says that it unpacks to more than any firmware.
    let mut bomb = good.clone();
    bomb[24 + 5..24 + 13].copy_from_slice(&(1u64 << 40).to_le_bytes());
    assert_eq!(with(&bomb)[0].events.len(), 2);
    // Any byte of it can be any other.
    for at in 0..good.len() {
        let mut other = good.clone();
        other[at] ^= 0xff;
        let [rtmr0, ..] = with(&other);
        assert!(rtmr0.events.len() >= 2);
    }
}

/// As above, with what is packed changed: the structures that are hostile after unpacking.
#[test]
fn volumes_that_cannot_be_read() {
    use super::volume::{user_interface, volumes};
    let good = [section(0x19, &[0; 8]), section(0x17, &driver_volume(&drivers(&[])))].concat();
    assert_eq!(volumes(&good).unwrap()[0].files.len(), 2);
    assert_eq!(user_interface(volumes(&good).unwrap()[0].files[1].1).unwrap(), "UiApp");
    for at in 0..good.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut other = good.clone();
            other[at] = value;
            let found = volumes(&other).unwrap_or_default();
            found.iter().flat_map(|v| &v.files).for_each(|(_, file)| drop(user_interface(file)));
        }
        volumes(&good[..at]);
    }
}
