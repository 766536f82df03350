//! The bridges and pvpanic.

use super::*;

#[test]
fn the_host_bridge_is_a_q35_and_knows_the_ecam_window() {
    let (root, mut hands) = root();
    let slot = root.add(Arc::new(Mutex::new(HostBridge::new(0xe000_0000)))).unwrap();
    assert_eq!(slot, Slot(0));
    assert_eq!(hands.config32(slot, 0), 0x29c0_8086);
    assert_eq!(hands.config32(slot, 8) >> 8, 0x06_0000);
    assert_eq!(hands.config32(slot, 0x60), 0xe000_0001);
    hands.set_config32(slot, 0x60, 0xe000_0001);
    assert_eq!((hands.config32(slot, 0x60), hands.config32(slot, 0x64)), (0xe000_0001, 0));
}

#[test]
fn the_lpc_bridge_says_where_the_power_management_is_whatever_firmware_writes() {
    let (root, mut hands) = root();
    root.add_at(LpcBridge::SLOT, Arc::new(Mutex::new(LpcBridge::new(0x600)))).unwrap();
    let slot = Slot(0x1f);
    assert_eq!(hands.config32(slot, 0), 0x2918_8086);
    assert_eq!(hands.config32(slot, 8) >> 8, 0x06_0100);
    hands.set_config32(slot, 0x40, 0xb000);
    hands.set_config32(slot, 0x44, 0);
    assert_eq!((hands.config32(slot, 0x40), hands.config32(slot, 0x44)), (0x601, 0x80));
    hands.set_config32(slot, 0x60, 0x0a0a_0b0b);
    assert_eq!(hands.config32(slot, 0x60), 0x0a0a_0b0b);
    hands.set_config32(slot, 4, 0x0100);
    assert_eq!(hands.config32(slot, 4), 0x0107, "it always decodes");
}

#[test]
fn pvpanic_says_what_it_takes_and_passes_reports_on() {
    let (root, mut hands) = root();
    let reports = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&reports);
    let pvpanic = Pvpanic::new(move |e| seen.lock().unwrap().push(e)).unwrap();
    let slot = root.add(Arc::new(Mutex::new(pvpanic))).unwrap();
    assert_eq!(hands.config32(slot, 0), 0x0011_1b36);
    let at = hands.bar(slot, 0);
    assert_eq!(hands.mem8(at), 3);
    assert_eq!(hands.mem32(at), 3);
    assert_eq!(hands.mem8(at + 1), 0);
    hands.set_mem8(at, 1);
    hands.set_mem8(at, 2);
    hands.set_mem8(at, 0xfc);
    hands.set_mem8(at + 1, 1);
    assert_eq!(*reports.lock().unwrap(), [PanicEvents::PANICKED, PanicEvents::CRASH_LOADED]);
}
