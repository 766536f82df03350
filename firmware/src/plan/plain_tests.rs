use super::*;
use crate::linux::{Blob, KernelHashes};
use crate::ovmf::known;
use crate::test_firmware::{FirmwareBuilder, amdsev};

fn hashes() -> KernelHashes {
    KernelHashes::new(&Blob::empty(), None, "console=ttyS0")
}

fn plan(firmware: &Firmware, hashes: Option<KernelHashes>) -> Result<LaunchPlan, PlanError> {
    let boot = PlainFirmwareBoot { firmware, hashes, memory: 64 << 20, vcpus: 2, signature: 0x80_0f12 };
    plan_plain_firmware(boot)
}

fn places(plan: &LaunchPlan) -> Vec<(&'static str, u64, u64)> {
    plan.pages.iter().map(|r| (r.label, r.gpa, r.pages)).collect()
}

#[test]
fn the_image_lies_below_4_gib_and_its_end_below_1_mib_too() {
    let small = plan(&FirmwareBuilder::new(2).build(), None).unwrap();
    assert_eq!(places(&small), [("firmware", 0xffff_e000, 2), ("firmware below 1 MiB", 0xf_e000, 2)]);
    let large = FirmwareBuilder::new(64).put(32 * 4096, b"half").build();
    let large = plan(&large, Some(hashes())).unwrap();
    assert_eq!(places(&large), [("firmware", 0xfffc_0000, 64), ("firmware below 1 MiB", 0xe_0000, 32)]);
    let mut start = [0; 4];
    large.pages[1].read(0, &mut start).unwrap();
    assert_eq!(&start, b"half");
    assert_eq!(large.layout.firmware, Some(MemoryRange::new(0xfffc_0000, 64 * 4096)));
    assert!(large.vcpus.iter().all(|cpu| (cpu.cs.base, cpu.rip) == (0xffff_0000, 0xfff0)));
}

#[test]
fn the_hash_table_lies_where_the_firmware_looks_for_it() {
    let with = plan(&amdsev().build(), Some(hashes())).unwrap();
    let run = &with.pages[2];
    assert_eq!((run.label, run.gpa, run.pages), ("kernel hashes", 0x81_0000, 1));
    let mut table = [0; TABLE_SIZE];
    run.read(0xc00, &mut table).unwrap();
    assert_eq!(table, hashes().table());
    assert_eq!(plan(&amdsev().build(), None).unwrap().pages.len(), 2);
    for nowhere in [[0, 0], [0x81_0c00, 175], [0, 0x400]] {
        let image = FirmwareBuilder::new(2).numbers(known::HASH_BLOCK, &nowhere).build();
        assert_eq!(plan(&image, Some(hashes())).unwrap().pages.len(), 2, "{nowhere:x?}");
    }
}

#[test]
fn a_table_outside_ram_or_over_the_firmware_is_refused() {
    let at = |gpa| FirmwareBuilder::new(2).numbers(known::HASH_BLOCK, &[gpa, 0x400]).build();
    assert!(matches!(plan(&at(0x400_0000), Some(hashes())), Err(PlanError::OutsideRam { .. })));
    assert!(matches!(plan(&at(0xffff_e000), Some(hashes())), Err(PlanError::Overlap { .. })));
}
