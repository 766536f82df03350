//! Features and status (virtio 1.3 §2.1, §2.2, §3.1).

use super::driver::{BOTH_WAYS, Guest, Way, reg};
use super::*;

const VERSION_1: u64 = 1 << 32;
const ACCESS_PLATFORM: u64 = 1 << 33;
const RING: u64 = 1 << 28 | 1 << 29;

fn guest(access_platform: bool) -> Guest {
    Guest::new(Toy::default(), Way::Memory, access_platform)
}

#[test]
fn what_is_offered() {
    for way in BOTH_WAYS {
        let mut plain = Guest::new(Toy::default(), way, false);
        assert_eq!(plain.offered(), VERSION_1 | RING | TOY_FEATURE.bits());
        let mut confidential = Guest::new(Toy::default(), way, true);
        assert_eq!(confidential.offered(), VERSION_1 | ACCESS_PLATFORM | RING | TOY_FEATURE.bits());
    }
    let mut guest = guest(false);
    guest.set(reg::DEVICE_FEATURE_SELECT, 2);
    assert_eq!(guest.get(reg::DEVICE_FEATURE), 0);
}

#[test]
fn features_are_taken_only_if_the_device_can_work_with_them() {
    for (features, plain, confidential) in [
        (VERSION_1, true, false),
        (VERSION_1 | ACCESS_PLATFORM, false, true),
        (VERSION_1 | RING | TOY_FEATURE.bits(), true, false),
        (VERSION_1 | RING | TOY_FEATURE.bits() | ACCESS_PLATFORM, false, true),
        (0, false, false),
        (RING | ACCESS_PLATFORM, false, false),
        (VERSION_1 | ACCESS_PLATFORM | 1, false, false),
        (VERSION_1 | 1 << 63, false, false),
    ] {
        assert_eq!(guest(false).negotiate(features), plain, "{features:#x}");
        assert_eq!(guest(true).negotiate(features), confidential, "{features:#x}");
    }
}

#[test]
fn bits_that_nobody_has_names_for_are_refused_too() {
    let mut guest = guest(false);
    guest.set(reg::STATUS, 3);
    guest.accept(VERSION_1);
    guest.set(reg::DRIVER_FEATURE_SELECT, 2);
    guest.set(reg::DRIVER_FEATURE, 1);
    guest.set(reg::STATUS, 0xb);
    assert_eq!(guest.get(reg::STATUS), 3);
    // A reset forgets them.
    assert!(guest.negotiate(VERSION_1));
}

#[test]
fn negotiated_features_stay_as_they_are() {
    let toy = Toy::default();
    let mut guest = Guest::new(toy.clone(), Way::Memory, false);
    assert!(guest.negotiate(VERSION_1));
    guest.accept(VERSION_1 | RING);
    guest.set(reg::DRIVER_FEATURE_SELECT, 0);
    assert_eq!(guest.get(reg::DRIVER_FEATURE), 0);
    guest.set(reg::STATUS, 0xf);
    let told = toy.told.lock().unwrap();
    assert_eq!(told.activation.as_ref().unwrap().features.bits(), VERSION_1);
}

#[test]
fn the_order_of_status_bits_is_kept() {
    let toy = Toy::default();
    let mut guest = Guest::new(toy.clone(), Way::Memory, false);
    guest.accept(VERSION_1);
    guest.set(reg::STATUS, 4);
    assert_eq!(guest.get(reg::STATUS), 0, "not ready without features");
    guest.set(reg::STATUS, 8);
    assert_eq!(guest.get(reg::STATUS), 0, "no features without a driver");
    guest.set(reg::STATUS, 7);
    assert_eq!(guest.get(reg::STATUS), 3);
    guest.set(reg::STATUS, 0x40 | 3);
    assert_eq!(guest.get(reg::STATUS), 3, "only the device says that it needs a reset");
    guest.set(reg::STATUS, 1);
    assert_eq!(guest.get(reg::STATUS), 3, "no bit is cleared but by a reset");
    guest.set(reg::STATUS, 0x80 | 3);
    assert_eq!(guest.get(reg::STATUS), 0x83);
    assert_eq!(toy.told.lock().unwrap().activations, 0);
}

#[test]
fn a_driver_in_a_hurry_may_set_both_bits_at_once() {
    let toy = Toy::default();
    let mut guest = Guest::new(toy.clone(), Way::Memory, false);
    guest.accept(VERSION_1);
    guest.set(reg::STATUS, 0xf);
    guest.set(reg::STATUS, 0xf);
    assert_eq!(guest.get(reg::STATUS), 0xf);
    assert_eq!(toy.told.lock().unwrap().activations, 1, "activated once");
}

#[test]
fn queue_sizes_are_powers_of_two_up_to_the_offered_one() {
    let mut guest = guest(false);
    assert!(guest.negotiate(VERSION_1));
    guest.set(reg::QUEUE_SELECT, 1);
    for (written, read) in [(32, 32), (0, 32), (33, 32), (128, 32), (0x8000, 32), (64, 64), (1, 1)] {
        guest.set(reg::QUEUE_SIZE, written);
        assert_eq!(guest.get(reg::QUEUE_SIZE), read, "{written}");
    }
    guest.set(reg::STATUS, 0);
    guest.set(reg::QUEUE_SELECT, 1);
    assert_eq!(guest.get(reg::QUEUE_SIZE), 64);
}

#[test]
fn an_enabled_queue_is_no_longer_changed() {
    let mut guest = guest(false);
    assert!(guest.negotiate(VERSION_1));
    let ring = guest.enable_queue(1);
    for register in [reg::QUEUE_DESC, reg::QUEUE_DRIVER, reg::QUEUE_DEVICE, reg::QUEUE_DESC + 4] {
        guest.set(register, 0x5000);
    }
    guest.set(reg::QUEUE_SIZE, 4);
    guest.set(reg::QUEUE_ENABLE, 0);
    assert_eq!(guest.get(reg::QUEUE_ENABLE), 1, "only a reset disables");
    assert_eq!(guest.get(reg::QUEUE_SIZE), 64);
    assert_eq!(u64::from(guest.get(reg::QUEUE_DEVICE)), ring.config().device);
    assert_eq!(guest.get(reg::QUEUE_DESC + 4), 0);
    // A queue enabled after the driver was ready is none.
    guest.set(reg::STATUS, 0xf);
    guest.set(reg::QUEUE_SELECT, 0);
    guest.set(reg::QUEUE_ENABLE, 1);
    assert_eq!(guest.get(reg::QUEUE_ENABLE), 0);
}

#[test]
fn vectors_that_do_not_exist_read_back_as_none() {
    let mut guest = guest(false);
    for register in [reg::CONFIG_VECTOR, reg::QUEUE_VECTOR] {
        assert_eq!(guest.get(register), 0xffff);
        for (written, read) in [(0, 0), (3, 3), (4, 0xffff), (2, 2), (0xffff, 0xffff)] {
            guest.set(register, written);
            assert_eq!(guest.get(register), read);
        }
    }
}
