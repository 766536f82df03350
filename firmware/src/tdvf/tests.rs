use super::*;
use crate::plan::MemoryRange;
use crate::test_firmware::{FirmwareBuilder, INTEL_TDX, TDVF_GUID, TestSection, tdvf_block};

fn parse(sections: &[TestSection]) -> Result<Option<Tdvf>, TdvfError> {
    Tdvf::parse(&FirmwareBuilder::new(2).tdvf(sections).build())
}

/// The good sections with one changed.
fn with(index: usize, section: TestSection) -> TdvfError {
    let mut sections = INTEL_TDX;
    sections[index] = section;
    parse(&sections).unwrap_err()
}

#[test]
fn sections_are_kept_in_order() {
    let tdvf = parse(&INTEL_TDX).unwrap().unwrap();
    let kinds: Vec<_> = tdvf.sections.iter().map(|s| s.kind.0).collect();
    assert_eq!(kinds, [0, 1, 2, 3]);
    assert!(tdvf.sections[0].attributes.is_measured() && !tdvf.sections[1].attributes.is_measured());
    assert_eq!(tdvf.hob().unwrap().gpa, 0x80_9000);
    assert_eq!(tdvf.configuration().unwrap().data_size, 0x1000);
}

#[test]
fn an_image_for_something_else_has_none() {
    assert_eq!(Tdvf::parse(&FirmwareBuilder::new(1).build()).unwrap(), None);
}

#[test]
fn a_descriptor_is_found_without_a_table_too() {
    let mut bytes = vec![0; 8192];
    bytes[..16].copy_from_slice(&TDVF_GUID);
    let block = tdvf_block(&INTEL_TDX);
    bytes[16..16 + block.len()].copy_from_slice(&block);
    let end = bytes.len();
    bytes[end - 0x20..end - 0x1c].copy_from_slice(&(8192u32 - 16).to_le_bytes());
    assert_eq!(Tdvf::parse(&Firmware::parse(bytes).unwrap()).unwrap().unwrap().sections.len(), 4);
}

#[test]
fn the_guid_before_the_descriptor_is_checked() {
    let image = FirmwareBuilder::new(2).block(known::TDX_METADATA, &[0; 16], &tdvf_block(&INTEL_TDX));
    assert!(matches!(Tdvf::parse(&image.build()), Err(TdvfError::Guid { offset: 16, .. })));
    let image = FirmwareBuilder::new(2).block(known::TDX_METADATA, &[], &tdvf_block(&INTEL_TDX));
    assert!(matches!(Tdvf::parse(&image.build()), Err(TdvfError::Guid { found: None, .. })));
}

#[test]
fn sections_that_cannot_be() {
    let bfv = INTEL_TDX[0];
    assert!(matches!(with(0, (0x1000, 0, bfv.2, bfv.3, 0, 1)), TdvfError::Data { wanted: "some", .. }));
    assert!(matches!(with(3, (0, 1, 0x80_0000, 0x1000, 3, 0)), TdvfError::Data { wanted: "none", .. }));
    assert!(matches!(with(0, (0, 0x1001, bfv.2, bfv.3, 0, 1)), TdvfError::Memory { .. }));
    assert!(matches!(with(0, (0x1001, 0x1000, bfv.2, bfv.3, 0, 1)), TdvfError::FileEnd { max: 8192, .. }));
    assert!(matches!(with(0, (u32::MAX, 0x1000, bfv.2, bfv.3, 0, 1)), TdvfError::FileEnd { .. }));
    assert!(matches!(with(3, (0, 0, 0, 0x1000, 8, 0)), TdvfError::Kind { found: 8, .. }));
    assert!(matches!(with(3, (0, 0, 0, 0x1000, 3, 4)), TdvfError::Attributes { found: 4, .. }));
    assert!(matches!(with(2, (0, 0, 0, 0x1000, 3, 0)), TdvfError::HobCount { found: 0, .. }));
    assert!(matches!(with(3, (0, 0, 0, 0x1000, 2, 0)), TdvfError::HobCount { found: 2, .. }));
    assert!(matches!(with(0, (0, 0, 0, 0x1000, 3, 0)), TdvfError::NoBootVolume { .. }));
    for (gpa, size) in [(0x800, 0x1000), (0, 0x800), (u64::MAX - 0xfff, 0x1000), (0x80_a000, 0x1000)] {
        assert!(matches!(with(3, (0, 0, gpa, size, 3, 0)), TdvfError::Block { .. }), "{gpa:#x}");
    }
}

#[test]
fn hand_off_blocks_cover_all_memory_once() {
    let tdvf = parse(&INTEL_TDX).unwrap().unwrap();
    let ram = [MemoryRange::new(0, 0x4000_0000), MemoryRange::new(1 << 32, 0x1000)];
    let hob = td_hob(&tdvf, &ram).unwrap();
    let resources: Vec<_> = hob[56..hob.len() - END_HOB_LEN]
        .chunks(48)
        .map(|r| {
            let u64_of = |at: usize| u64::from_le_bytes(r[at..at + 8].try_into().unwrap());
            (r[24], u64_of(32), u64_of(40))
        })
        .collect();
    assert_eq!(
        resources,
        [
            (7, 0, 0x80_0000),
            (0, 0x80_0000, 0x6000),
            (7, 0x80_6000, 0x3000),
            (0, 0x80_9000, 0x2000),
            (7, 0x80_b000, 0x4000_0000 - 0x80_b000),
            (7, 1 << 32, 0x1000),
        ]
    );
    assert_eq!(hob[48..56], (0x80_9000 + hob.len() as u64).to_le_bytes());
    assert_eq!(hob, td_hob(&tdvf, &ram).unwrap());
}

#[test]
fn hand_off_blocks_that_cannot_be() {
    let tdvf = parse(&INTEL_TDX).unwrap().unwrap();
    let small = td_hob(&tdvf, &[MemoryRange::new(0, 0x80_0000)]);
    assert!(matches!(small, Err(TdvfError::OutsideRam { gpa: 0x80_0000, .. })));
    let mut many = vec![MemoryRange::new(0, 0x4000_0000)];
    many.extend((1..400).map(|n| MemoryRange::new(n << 32, 0x1000)));
    assert!(matches!(td_hob(&tdvf, &many), Err(TdvfError::HobTooLong { .. })));
}
