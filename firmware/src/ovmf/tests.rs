use super::*;
use crate::test_firmware::{FirmwareBuilder, amdsev, block, sev_block};

#[test]
fn everything_in_a_good_image_is_found() {
    let firmware = amdsev().build();
    assert_eq!((firmware.base(), firmware.end()), (0xffff_e000, 1 << 32));
    assert_eq!(firmware.table().entries.len(), 4);
    assert_eq!(firmware.table().entries[0].guid, known::RESET_BLOCK);
    assert_eq!(firmware.reset_eip().unwrap(), Some(0x80_b004));
    assert_eq!(firmware.secret_area().unwrap(), Some(Area { gpa: 0x81_0000, size: 0xc00 }));
    assert_eq!(firmware.hash_area().unwrap(), Some(Area { gpa: 0x81_0c00, size: 0x400 }));
    let metadata = firmware.sev_metadata().unwrap().unwrap();
    let kinds: Vec<_> = metadata.sections.iter().map(|s| s.kind.0).collect();
    assert_eq!(kinds, [1, 2, 3, 4, 1, 0x10], "order is kept");
    assert_eq!(metadata.kernel_hashes().unwrap().gpa, 0x81_0000);
    assert_eq!((firmware.igvm_parameters().unwrap(), firmware.svsm_entry().unwrap()), (None, None));
}

#[test]
fn an_image_without_a_table_has_none() {
    let firmware = Firmware::parse(vec![0xff; 4096]).unwrap();
    assert_eq!(firmware.table(), &GuidTable::default());
    assert_eq!((firmware.reset_eip().unwrap(), firmware.hash_area().unwrap()), (None, None));
    assert_eq!(firmware.sev_metadata().unwrap(), None);
}

#[test]
fn a_lone_reset_block_from_before_the_table() {
    let mut bytes = vec![0; 4096];
    bytes[0xfca..0xfce].copy_from_slice(&0x80_b004u32.to_le_bytes());
    bytes[0xfce..0xfd0].copy_from_slice(&22u16.to_le_bytes());
    bytes[0xfd0..0xfe0].copy_from_slice(&known::RESET_BLOCK.0);
    let firmware = Firmware::parse(bytes).unwrap();
    assert!(firmware.table().legacy);
    assert_eq!(firmware.reset_eip().unwrap(), Some(0x80_b004));
}

#[test]
fn sizes_of_images() {
    for size in [0, 1, 4095, 4097, MAX_SIZE as usize + 4096] {
        assert!(matches!(Firmware::parse(vec![0; size]), Err(FirmwareError::ImageSize { .. })), "{size:#x}");
    }
    let low = Firmware::parse(vec![0; 8192]).unwrap();
    assert_eq!(low.clone().ending_at(0x10_0000).unwrap().base(), 0xf_e000);
    assert!(matches!(low.clone().ending_at(0x1000), Err(FirmwareError::ImagePlace { .. })));
    assert!(matches!(low.ending_at(0x10_0001), Err(FirmwareError::ImagePlace { .. })));
}

/// The length of the entry nearest to the footer lies right before its GUID.
#[test]
fn lengths_in_the_table() {
    let image = FirmwareBuilder::new(1).numbers(known::RESET_BLOCK, &[1]);
    let with = |at: usize, len: u16| {
        let mut bytes = image.bytes();
        bytes[at..at + 2].copy_from_slice(&len.to_le_bytes());
        Firmware::parse(bytes).unwrap_err()
    };
    let (footer, entry) = (0xfce, 0xfbc);
    assert!(matches!(with(footer, 17), FirmwareError::TableLength { found: 17, offset: 0xfce, .. }));
    assert!(matches!(with(footer, 0xffff), FirmwareError::TableLength { .. }));
    assert!(matches!(with(footer, 19), FirmwareError::TableRest { left: 1, .. }));
    assert!(matches!(with(entry, 17), FirmwareError::EntryLength { found: 17, .. }));
    assert!(matches!(with(entry, 23), FirmwareError::EntryLength { max: 22, .. }));
    let twice = image.clone().numbers(known::RESET_BLOCK, &[2]);
    assert!(matches!(twice.parse(), Err(FirmwareError::EntryTwice { .. })));
}

#[test]
fn entries_that_do_not_hold_what_they_must() {
    let one = |guid, data: &[u32]| FirmwareBuilder::new(1).numbers(guid, data).build();
    let odd = FirmwareError::EntryData { what: "", offset: 0, found: 0, wanted: 0 };
    let is_odd = |e: FirmwareError| std::mem::discriminant(&e) == std::mem::discriminant(&odd);
    assert!(is_odd(one(known::RESET_BLOCK, &[]).reset_eip().unwrap_err()));
    assert!(is_odd(one(known::HASH_BLOCK, &[1]).hash_area().unwrap_err()));
    assert!(is_odd(one(known::SECRET_BLOCK, &[1, 2, 3]).secret_area().unwrap_err()));
    assert!(is_odd(one(known::SEV_METADATA, &[1, 2]).sev_metadata().unwrap_err()));
    assert!(is_odd(one(known::IGVM_METADATA, &[]).igvm_parameters().unwrap_err()));
    assert!(is_odd(one(known::SVSM_INFO, &[1, 2]).svsm_entry().unwrap_err()));
    let far = one(known::HASH_BLOCK, &[u32::MAX, 2]).hash_area();
    assert!(matches!(far, Err(FirmwareError::Area { gpa: u32::MAX, .. })));
    let far = one(known::SVSM_INFO, &[0x1000]).svsm_entry();
    assert!(matches!(far, Err(FirmwareError::MetadataOffset { found: 0x1000, .. })));
}

#[test]
fn metadata_that_is_none() {
    let at = |distance: u32| {
        FirmwareBuilder::new(1).numbers(known::SEV_METADATA, &[distance]).build().sev_metadata().unwrap_err()
    };
    assert!(matches!(at(0), FirmwareError::MetadataOffset { found: 0, .. }));
    assert!(matches!(at(15), FirmwareError::MetadataOffset { .. }));
    assert!(matches!(at(4097), FirmwareError::MetadataOffset { max: 4096, .. }));
    assert!(matches!(at(u32::MAX), FirmwareError::MetadataOffset { .. }));
    assert!(matches!(at(4096), FirmwareError::Signature { offset: 0, .. }));

    let good = sev_block(&[[0x80_0000, 0x1000, 1]]);
    let broken = |at: usize, number: u32| {
        let mut block = good.clone();
        block[at..at + 4].copy_from_slice(&number.to_le_bytes());
        FirmwareBuilder::new(1).block(known::SEV_METADATA, &[], &block).build().sev_metadata().unwrap_err()
    };
    assert!(matches!(broken(8, 2), FirmwareError::Version { found: 2, .. }));
    assert!(matches!(broken(4, 27), FirmwareError::BlockLength { found: 27, count: 1, .. }));
    assert!(matches!(broken(12, 2), FirmwareError::BlockLength { count: 2, .. }));
    assert!(matches!(broken(12, 1025), FirmwareError::Entries { found: 1025, .. }));
    assert!(matches!(broken(12, u32::MAX), FirmwareError::Entries { .. }));
    // A block with the right length for its entries, over the end of the file.
    let long = block(b"ASEV", 500, &[0; 16]);
    let mut long = long;
    long[4..8].copy_from_slice(&(16 + 500u32 * 12).to_le_bytes());
    let long = FirmwareBuilder::new(1).block(known::SEV_METADATA, &[], &long).build().sev_metadata();
    assert!(matches!(long, Err(FirmwareError::BlockLength { max: 4096, .. })));
}

fn sev(sections: &[[u32; 3]]) -> Result<Option<SevMetadata>, FirmwareError> {
    FirmwareBuilder::new(1).sev(sections).build().sev_metadata()
}

#[test]
fn sections_without_size_are_tolerated() {
    let metadata = sev(&[[0, 0, 4], [0x80_0000, 0x1000, 1], [0, 0, 1], [0, 0, 0x10]]).unwrap().unwrap();
    assert_eq!(metadata.sections.len(), 4);
    assert_eq!(metadata.kernel_hashes(), None);
    let unknown = sev(&[[0x1000, 0x1000, 99]]).unwrap().unwrap();
    assert_eq!(unknown.sections[0].kind.name(), "unknown");
}

#[test]
fn sections_that_cannot_be() {
    assert!(matches!(sev(&[[0x800, 0x1000, 1]]), Err(FirmwareError::SectionPages { index: 0, .. })));
    assert!(matches!(sev(&[[0x1000, 0x800, 1]]), Err(FirmwareError::SectionPages { .. })));
    // Found in the field: a size that underflowed when the image was built.
    let underflow = sev(&[[0x80_0000, 0x9000, 1], [0x80_f000, 0xff7f_1000, 1]]);
    assert!(matches!(underflow, Err(FirmwareError::SectionEnd { index: 1, end: 0xffff_f000, .. })));
    assert!(matches!(sev(&[[0, 0x1000_1000, 1]]), Err(FirmwareError::SectionsTooLarge { .. })));
    let over = sev(&[[0x1000, 0x3000, 1], [0x5000, 0x1000, 1], [0x3000, 0x1000, 2]]);
    assert!(matches!(over, Err(FirmwareError::SectionsOverlap { index: 2, other: 0, .. })));
    assert!(matches!(sev(&[[0x1000, 0x2000, 3]]), Err(FirmwareError::SectionOnePage { .. })));
    let twice = sev(&[[0x1000, 0x1000, 0x10], [0x2000, 0x1000, 0x10]]);
    assert!(matches!(twice, Err(FirmwareError::SectionTwice { index: 1, .. })));
}

#[test]
fn igvm_parameters() {
    let entries: Vec<u8> = [0x81_2000u32, 0x1000, 0x100, 0, 0xc0, 0x101, 0xc0, 0x10, 0x102]
        .iter()
        .flat_map(|n| n.to_le_bytes())
        .collect();
    let image = |entries: &[u8], count| {
        let block = block(b"IGVM", count, entries);
        FirmwareBuilder::new(1).block(known::IGVM_METADATA, &[], &block).build().igvm_parameters()
    };
    let found = image(&entries, 3).unwrap().unwrap();
    assert_eq!(found.parameters[0], IgvmParameter { at: 0x81_2000, size: 0x1000, id: ParameterId::AREA });
    assert_eq!(found.parameters[2].id.name(), "VP count");
    assert_eq!(image(&[], 0).unwrap().unwrap().parameters, []);
    assert!(matches!(image(&[0xff; 12], 1), Err(FirmwareError::Area { .. })));
}

#[test]
fn messages_name_structure_offset_found_and_wanted() {
    let message = sev(&[[0x1000, 0x1000, 1], [0x1000, 0x1800, 1]]).unwrap_err().to_string();
    for part in ["SEV metadata", "section 1", "at 0x1c", "0x1800", "wanted multiples of 0x1000"] {
        assert!(message.contains(part), "{message}");
    }
}
