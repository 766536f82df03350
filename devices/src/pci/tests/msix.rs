//! The MSI-X table, its masks and its pending bits.

use super::*;
use crate::irq::MsiMessage;
use crate::pci::testing::FakeMsi;

const MESSAGE: MsiMessage = MsiMessage { address: 0xfee0_1000, data: 0x41 };
const CAP: u16 = 0x40;

/// Three vectors, and the configuration space that switches them.
struct Rig {
    msi: FakeMsi,
    msix: Msix,
    space: ConfigSpace,
}

impl Rig {
    fn new() -> Rig {
        let msi = FakeMsi::default();
        let msix = Msix::new(&msi, 3).unwrap();
        let mut space = ConfigSpace::new(Identity::default());
        assert_eq!(msix.add_capability(&mut space, 1, 0x4000, 0x5000).unwrap(), CAP);
        Rig { msi, msix, space }
    }

    fn control(&mut self, value: u16) {
        self.space.write(CAP + 2, &value.to_le_bytes());
        self.msix.config_written(&self.space, CAP);
    }

    fn word(&self, vector: u64, word: u64, value: u32) {
        self.msix.table_write(16 * vector + 4 * word, &value.to_le_bytes());
    }

    fn program(&self, vector: u64, mask: u32) {
        self.word(vector, 0, 0xfee0_1000);
        self.word(vector, 2, 0x41);
        self.word(vector, 3, mask);
    }

    fn pending(&self) -> u8 {
        let mut data = [0];
        self.msix.pending_read(0, &mut data);
        data[0]
    }

    fn triggered(&self, vector: usize) -> u64 {
        let v = self.msi.vector(vector);
        assert_eq!(v.lost, 0, "triggered while masked");
        v.triggered
    }
}

const ENABLE: u16 = 1 << 15;
const MASK_ALL: u16 = 1 << 14;

#[test]
fn the_capability_tells_the_table() {
    let mut rig = Rig::new();
    assert_eq!(rig.space.u32(CAP), 0x0002_0011);
    assert_eq!((rig.space.u32(CAP + 4), rig.space.u32(CAP + 8)), (0x4001, 0x5001));
    rig.control(0xffff);
    assert_eq!(rig.space.u16(CAP + 2), 0xc002);
    assert!(Msix::new(&rig.msi, 0).is_err());
    assert!(Msix::new(&rig.msi, 2049).is_err());
}

#[test]
fn an_unmasked_vector_fires_and_carries_its_message() {
    let mut rig = Rig::new();
    rig.program(1, 0);
    assert_eq!(rig.msi.vector(1).message, None, "MSI-X is off");
    rig.msix.trigger(1);
    rig.control(ENABLE);
    assert_eq!(rig.msi.vector(1).message, Some(MESSAGE));
    assert_eq!(rig.triggered(1), 0, "what happened while MSI-X was off is not told late");
    rig.msix.trigger(1);
    rig.msix.trigger(3);
    rig.msix.trigger(0xffff);
    assert_eq!(rig.triggered(1), 1);
    assert_eq!(rig.msix.stats().triggered, 1);
}

#[test]
fn a_masked_vector_waits_and_fires_once_when_unmasked() {
    let mut rig = Rig::new();
    rig.control(ENABLE);
    rig.program(2, 1);
    rig.msix.trigger(2);
    rig.msix.trigger(2);
    assert_eq!((rig.pending(), rig.triggered(2)), (0b100, 0));
    rig.word(2, 3, 0);
    assert_eq!((rig.pending(), rig.triggered(2)), (0, 1));
    rig.word(2, 3, 1);
    assert_eq!(rig.msi.vector(2).message, None);
    rig.word(2, 3, 0);
    assert_eq!(rig.triggered(2), 1, "nothing was waiting");
}

#[test]
fn the_function_mask_masks_all_and_unmasking_fires_what_waited() {
    let mut rig = Rig::new();
    rig.program(0, 0);
    rig.program(1, 1);
    rig.control(ENABLE | MASK_ALL);
    rig.msix.trigger(0);
    rig.msix.trigger(1);
    assert_eq!(rig.pending(), 0b11);
    rig.control(ENABLE);
    assert_eq!((rig.pending(), rig.triggered(0), rig.triggered(1)), (0b10, 1, 0));
    rig.control(0);
    assert_eq!((rig.pending(), rig.msi.vector(0).message), (0, None));
}

#[test]
fn a_message_that_is_no_interrupt_waits_for_a_better_one() {
    let mut rig = Rig::new();
    rig.control(ENABLE);
    rig.word(0, 0, 0x1000);
    rig.word(0, 3, 0);
    rig.msix.trigger(0);
    assert_eq!((rig.pending(), rig.triggered(0)), (1, 0));
    assert!(rig.msix.stats().failed > 0);
    rig.word(0, 0, 0xfee0_1000);
    assert_eq!((rig.pending(), rig.triggered(0)), (0, 1));
}

#[test]
fn the_table_is_written_in_words_and_read_in_any_way() {
    let rig = Rig::new();
    rig.msix.table_write(16, &0x1234_5678_fee0_1003u64.to_le_bytes());
    rig.msix.table_write(24, &[0xff, 0xff]);
    rig.msix.table_write(25, &[0xff; 4]);
    rig.msix.table_write(24, &[0xff; 8]);
    let mut entry = [0; 16];
    rig.msix.table_read(16, &mut entry);
    assert_eq!(entry, [0, 0x10, 0xe0, 0xfe, 0x78, 0x56, 0x34, 0x12, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
    let mut odd = [0; 3];
    rig.msix.table_read(17, &mut odd);
    assert_eq!(odd, [0x10, 0xe0, 0xfe]);
    rig.msix.table_read(u64::MAX - 1, &mut odd);
    rig.msix.table_read(48, &mut odd);
    assert_eq!(odd, [0; 3], "beyond the last entry");
}
