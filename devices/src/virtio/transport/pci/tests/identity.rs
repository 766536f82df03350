//! What a driver finds before it does anything.

use super::driver::{Guest, Way, reg};
use super::*;

#[test]
fn it_is_a_modern_device_of_its_type_without_a_wired_interrupt() {
    let mut guest = Guest::new(Toy::default(), Way::Memory, false);
    let slot = guest.slot;
    assert_eq!(guest.hands.config32(slot, 0), (0x1040 + 19) << 16 | 0x1af4);
    assert_eq!(guest.hands.config8(slot, 8), 1, "revision");
    assert_eq!(guest.hands.config8(slot, 0x3d), 0, "interrupt pin");
    assert_eq!(guest.hands.config16(slot, guest.msix + 2), 3, "a vector for each queue and one for changes");
    assert_eq!(guest.get(reg::NUM_QUEUES), 3);
}

#[test]
fn queues_beyond_the_last_one_do_not_exist() {
    let mut guest = Guest::new(Toy::default(), Way::Memory, false);
    let sizes: Vec<u32> = (0..4)
        .map(|q| {
            guest.set(reg::QUEUE_SELECT, q);
            guest.get(reg::QUEUE_SIZE)
        })
        .collect();
    assert_eq!(sizes, [256, 64, 8, 0]);
    for q in [3, 0xffff] {
        guest.set(reg::QUEUE_SELECT, q);
        guest.set(reg::QUEUE_ENABLE, 1);
        guest.set(reg::QUEUE_DESC, 0x1000);
        for register in [reg::QUEUE_SIZE, reg::QUEUE_ENABLE, reg::QUEUE_VECTOR, reg::QUEUE_DESC] {
            assert_eq!(guest.get(register), 0);
        }
    }
}

#[test]
fn the_device_configuration_is_read_and_written_and_ends_in_zeros() {
    for way in driver::BOTH_WAYS {
        let toy = Toy::default();
        toy.told.lock().unwrap().config = vec![1, 2, 3, 4, 5, 6];
        let mut guest = Guest::new(toy, way, false);
        let at = guest.device;
        assert_eq!(guest.read(at, 4), 0x0403_0201);
        assert_eq!(guest.read(at + 4, 4), 0x0605);
        assert_eq!(guest.read(at + 0x800, 4), 0);
        guest.write(at + 2, 2, 0xbbaa);
        assert_eq!(guest.read(at, 4), 0xbbaa_0201);
    }
}

#[test]
fn pci_cfg_makes_no_access_that_a_driver_may_not_ask_for() {
    let mut guest = Guest::new(Toy::default(), Way::PciCfg, false);
    let (slot, cap) = (guest.slot, guest.pci_cfg);
    // Bar, offset and length aim at the status register, each wrong in one way.
    for (bar, offset, len) in
        [(1, 0x14, 1), (0, 0x14, 0), (0, 0x14, 3), (0, 0x14, 8), (0, 0x17, 2), (0, 0x12, 4)]
    {
        guest.hands.set_config8(slot, cap + 4, bar);
        guest.hands.set_config32(slot, cap + 8, offset);
        guest.hands.set_config32(slot, cap + 12, len);
        guest.hands.set_config32(slot, cap + 16, 0xa5a5_a5a5);
        assert_eq!(guest.hands.config32(slot, cap + 16), 0xa5a5_a5a5, "{bar} {offset:#x} {len}");
    }
    // Only an access to the first byte of the data is one.
    guest.write(0x14, 1, 0);
    guest.hands.set_config8(slot, cap + 17, 1);
    guest.hands.set_config16(slot, cap + 18, 0x0101);
    assert_eq!(guest.read(0x14, 1), 0);
    // One byte is written, whatever came with it.
    guest.hands.set_config32(slot, cap + 16, 0xffff_ff01);
    assert_eq!(guest.read(0x14, 1), 1);
    // Offsets at the far end of nowhere.
    for offset in [0x7ffc, 0x8000, 0xffff_fffc] {
        guest.write(offset, 4, 0xffff_ffff);
        assert_eq!(guest.read(offset, 4), 0);
    }
}

#[test]
fn too_many_queues_are_refused_by_us_not_by_the_guest() {
    struct Huge(Vec<u16>);
    impl VirtioDevice for Huge {
        fn device_type(&self) -> DeviceType {
            DeviceType::NET
        }
        fn queue_sizes(&self) -> &[u16] {
            &self.0
        }
        fn activate(&mut self, _: Activation) -> Result<(), ActivateError> {
            Ok(())
        }
        fn reset(&mut self) {}
    }
    use crate::pci::testing::{FakeDoorbells, FakeMsi};
    use crate::virtio::transport::pci::{Environment, VirtioPci};
    let mem = cloister_coco::memory::SharedMemory::for_test(0x1000);
    let registry: Arc<dyn crate::notify::DoorbellRegistry> = Arc::new(FakeDoorbells::default());
    let env =
        Environment { mem: &mem, msi: &FakeMsi::default(), doorbells: &registry, access_platform: false };
    assert!(VirtioPci::new(Box::new(Huge(vec![8; 256])), &env).is_err());
    assert!(VirtioPci::new(Box::new(Huge(vec![8; 255])), &env).is_ok());
}
