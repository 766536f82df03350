//! Finding functions, by ports, by memory, and their BARs wherever they go.

use super::*;
use crate::bus::BusDevice;

#[test]
fn functions_get_slots_and_bars_as_from_firmware() {
    let (root, mut hands) = root();
    let (a, b) = (Memory::new(1), Memory::new(2));
    let (slot_a, slot_b) = (root.add(a.clone()).unwrap(), root.add(b).unwrap());
    assert_eq!((slot_a, slot_b), (Slot(0), Slot(1)));
    assert_eq!(hands.config32(slot_b, 0), 0x0002_1234);
    assert_eq!(hands.config16(slot_a, 4) & 2, 2, "memory is decoded");
    let bars = [hands.bar(slot_a, 0), hands.bar(slot_a, 2), hands.bar(slot_b, 0), hands.bar(slot_b, 2)];
    assert_eq!(bars, [BASE, BASE + 0x10000, BASE + 0x20000, BASE + 0x30000]);
    hands.set_mem32(bars[2] + 8, 0xfeed_f00d);
    hands.set_mem8(bars[0] + 8, 0x11);
    assert_eq!((hands.mem32(bars[2] + 8), hands.mem32(bars[0] + 8)), (0xfeed_f00d, 0x11));
    // Told once, with everything in place.
    assert_eq!(a.lock().unwrap().moves.len(), 1);
    assert_eq!(a.lock().unwrap().moves[0].len(), 2);
}

#[test]
fn nobody_there_reads_as_ones() {
    let (root, mut hands) = root();
    root.add_at(Slot(3), Memory::new(1)).unwrap();
    assert!(matches!(root.add_at(Slot(3), Memory::new(2)), Err(PciError::SlotTaken { .. })));
    assert!(matches!(root.add_at(Slot(32), Memory::new(2)), Err(PciError::NoSlot)));
    assert_eq!(hands.config32(Slot(4), 0), u32::MAX);
    assert_eq!(hands.mem32(BASE + LEN - 4), u32::MAX);
    // Another bus, another function, or not enabled.
    for address in [1u32 << 31 | 1 << 16 | 3 << 11, 1 << 31 | 3 << 11 | 1 << 8, 3 << 11] {
        hands.ports.write(0, &address.to_le_bytes());
        let mut data = [0; 4];
        hands.ports.read(4, &mut data);
        assert_eq!(data, [0xff; 4], "{address:#x}");
    }
    let mut ecam = Ecam::new(root);
    for (offset, want) in
        [(3 << 15, 0x0001_1234), (3 << 15 | 1 << 12, u32::MAX), (1 << 20 | 3 << 15, u32::MAX)]
    {
        let mut data = [0; 4];
        ecam.read(offset, &mut data);
        assert_eq!(u32::from_le_bytes(data), want, "{offset:#x}");
    }
}

#[test]
fn ports_take_bytes_and_words_but_no_crossing() {
    let (root, mut hands) = root();
    let slot = root.add(Memory::new(0xabcd)).unwrap();
    assert_eq!(hands.config8(slot, 3), 0xab);
    assert_eq!(hands.config16(slot, 2), 0xabcd);
    hands.set_config8(slot, 0x3c, 0x55);
    assert_eq!(hands.config32(slot, 0x3c), 0x55);
    let mut data = [0; 4];
    hands.ports.read(5, &mut data);
    assert_eq!(data, [0xff; 4]);
    hands.ports.write(6, &[0; 4]);
    // The address register is 32 bits and nothing less.
    hands.config8(slot, 0);
    hands.ports.write(0, &[0, 0]);
    hands.ports.read(0, &mut data);
    assert_eq!(u32::from_le_bytes(data), 1 << 31);
}

#[test]
fn ecam_takes_what_ports_take_and_eight_bytes() {
    let (root, _) = root();
    root.add(Memory::new(0xabcd)).unwrap();
    let mut ecam = Ecam::new(root);
    let mut wide = [0; 8];
    ecam.read(0, &mut wide);
    assert_eq!(&wide[..4], [0x34, 0x12, 0xcd, 0xab]);
    assert_eq!(wide[4] & 2, 2);
    ecam.write(0x3c, &[0x77]);
    ecam.read(0x38, &mut wide);
    assert_eq!(wide[4], 0x77);
    let mut crossing = [0; 4];
    ecam.read(2, &mut crossing);
    assert_eq!(crossing, [0xff; 4]);
}

#[test]
fn a_reset_through_the_chipset_is_told_once_per_rising_edge() {
    let (root, _) = root();
    let resets = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&resets);
    let mut ports = ConfigPorts::new(root).with_reset(move || *counted.lock().unwrap() += 1);
    for value in [0x02, 0x06, 0x06, 0x00, 0x0e] {
        ports.write(1, &[value]);
    }
    let mut back = [0];
    ports.read(1, &mut back);
    assert_eq!((*resets.lock().unwrap(), back), (2, [0x0e]));
}

#[test]
fn a_bar_moves_and_its_function_hears_of_it() {
    let (root, mut hands) = root();
    let function = Memory::new(1);
    let slot = root.add(function.clone()).unwrap();
    let moves = || function.lock().unwrap().moves.last().unwrap().clone();
    hands.set_mem32(BASE, 7);
    hands.set_config32(slot, 0x10, 0xd000_0000);
    assert_eq!((hands.mem32(BASE), hands.mem32(0xd000_0000)), (u32::MAX, 7));
    assert_eq!(moves()[0].base, 0xd000_0000);
    // Outside the window nothing is decoded: over RAM, over other devices, at the very top.
    for outside in [0u32, 0x1000, 0xbfff_f000, 0xe000_0000, 0xfee0_0000, 0xffff_f000] {
        hands.set_config32(slot, 0x10, outside);
        assert_eq!(moves().iter().map(|w| w.bar).collect::<Vec<_>>(), [2], "{outside:#x}");
    }
    hands.set_config16(slot, 4, 0);
    assert_eq!(moves(), []);
    assert_eq!(hands.mem32(BASE + 0x10000), u32::MAX);
    hands.set_config32(slot, 0x10, 0xdfff_f000);
    hands.set_config16(slot, 4, 2);
    assert_eq!(moves().len(), 2);
    assert_eq!(hands.mem32(0xdfff_f000), 7);
    let told = function.lock().unwrap().moves.len();
    hands.set_config16(slot, 4, 6);
    assert_eq!(function.lock().unwrap().moves.len(), told, "nothing moved, nothing told");
}

#[test]
fn of_overlapping_bars_the_lower_slot_answers() {
    let (root, mut hands) = root();
    let (a, b) = (root.add(Memory::new(1)).unwrap(), root.add(Memory::new(2)).unwrap());
    let (at_a, at_b) = (hands.bar(a, 0), hands.bar(b, 0));
    hands.set_mem32(at_a, 0xa);
    hands.set_mem32(at_b, 0xb);
    hands.set_config32(b, 0x10, at_a as u32);
    assert_eq!(hands.mem32(at_a), 0xa);
    hands.set_config32(a, 0x10, at_b as u32);
    assert_eq!((hands.mem32(at_a), hands.mem32(at_b)), (0xb, 0xa));
    hands.set_config32(a, 0x10, at_a as u32);
    assert_eq!(hands.mem32(at_a), 0xa, "the lower slot, not the one that came first");
}

#[test]
fn the_window_and_the_slots_run_out_without_harm() {
    let small = PciRoot::new(BASE, 0x11000);
    assert!(matches!(small.add(Memory::new(1)), Err(PciError::NoRoom { size: 0x10000 })));
    let (root, _) = root();
    for _ in 0..32 {
        root.add(Memory::new(1)).unwrap();
    }
    assert!(matches!(root.add(Memory::new(1)), Err(PciError::NoSlot)));
}

#[test]
fn many_vcpus_at_once_neither_deadlock_nor_lose_accesses() {
    let root = PciRoot::new(BASE, LEN);
    let slots: Vec<Slot> = (0..4).map(|i| root.add(Memory::new(i)).unwrap()).collect();
    std::thread::scope(|scope| {
        for (i, slot) in slots.iter().enumerate() {
            let root = root.clone();
            scope.spawn(move || {
                let mut hands = Hands::new(&root);
                for round in 0..500u32 {
                    let at = BASE + 0x100_0000 * (i as u64 + 1) + u64::from(round & 1) * 0x1000;
                    hands.set_config32(*slot, 0x10, at as u32);
                    hands.set_mem32(at + 4, round);
                    assert_eq!(hands.mem32(at + 4), round);
                    hands.mem32(BASE + u64::from(round) * 0x1000);
                }
            });
        }
    });
}
