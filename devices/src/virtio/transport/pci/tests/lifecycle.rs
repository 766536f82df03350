//! From probing to serving, and back.

use super::driver::{BOTH_WAYS, Guest, Way, reg};
use super::*;
use crate::pci::testing::Hands;
use crate::virtio::dev::rng::Rng;
use crate::virtio::queue::testing::Completion;
use crate::virtio::testing::TIMEOUT;
use crate::virtio::transport::pci::Status;

const VERSION_1: u64 = 1 << 32;

#[test]
fn an_entropy_device_serves_a_driver_that_uses_the_bar_and_one_that_only_has_pci_cfg() {
    for (way, access_platform) in [(Way::Memory, false), (Way::PciCfg, false), (Way::PciCfg, true)] {
        let mut guest = Guest::new(Rng::new(), way, access_platform);
        let features = guest.offered();
        // Indirect, no EVENT_IDX.
        let mut rings = guest.initialise(features & !(1 << 29));
        assert_eq!(guest.get(reg::STATUS), 0xf);
        for round in 1..=20 {
            let buffer = rings[0].writable(256);
            let head = rings[0].add_indirect(&[buffer]);
            if rings[0].publish() {
                guest.ring(0);
            }
            assert!(guest.msi.wait(1, round, TIMEOUT), "no interrupt");
            assert_eq!(rings[0].completed(), Ok(Some(Completion { head, len: 256 })));
            assert!(rings[0].bytes(buffer).iter().any(|b| *b != 0));
            assert_eq!(guest.read(guest.isr, 1) & 1, 1);
        }
        let stats = guest.function.lock().unwrap().queue_stats();
        assert_eq!((stats[0].requests, stats[0].malformed), (20, 0));
    }
}

#[test]
fn after_a_reset_the_device_is_as_new_and_serves_again() {
    for way in BOTH_WAYS {
        let mut guest = Guest::new(Rng::new(), way, false);
        for round in 1..=5 {
            let mut rings = guest.initialise(VERSION_1);
            let buffer = rings[0].writable(16);
            rings[0].add(&[buffer]);
            rings[0].publish();
            guest.ring(0);
            assert!(guest.msi.wait(1, round, TIMEOUT));
            guest.set(reg::STATUS, 0);
            assert_eq!(guest.get(reg::STATUS), 0);
            // Stopped: what comes now is not served.
            rings[0].completed().unwrap().unwrap();
            let buffer = rings[0].writable(16);
            rings[0].add(&[buffer]);
            rings[0].publish();
            guest.ring(0);
            assert_eq!(rings[0].completed(), Ok(None));
            guest.set(reg::QUEUE_SELECT, 0);
            assert_eq!(guest.get(reg::QUEUE_ENABLE), 0);
            assert_eq!(guest.get(reg::QUEUE_DESC), 0);
            assert_eq!(guest.get(reg::QUEUE_VECTOR), 0xffff);
            assert_eq!(guest.get(reg::CONFIG_VECTOR), 0xffff);
            assert_eq!(guest.read(guest.isr, 1), 0);
        }
    }
}

#[test]
fn only_enabled_queues_reach_the_device() {
    let toy = Toy::default();
    let mut guest = Guest::new(toy.clone(), Way::Memory, false);
    assert!(guest.negotiate(VERSION_1));
    guest.enable_queue(1);
    guest.set(reg::STATUS, 0xf);
    let told = toy.told.lock().unwrap();
    let there: Vec<bool> = told.activation.as_ref().unwrap().queues.iter().map(Option::is_some).collect();
    assert_eq!(there, [false, true, false]);
}

#[test]
fn a_queue_that_cannot_be_makes_the_device_need_a_reset() {
    // In no RAM, and misaligned.
    for at in [0xffff_f000, 0x1001] {
        let toy = Toy::default();
        let mut guest = Guest::new(toy.clone(), Way::Memory, false);
        assert!(guest.negotiate(VERSION_1));
        guest.enable_msix();
        guest.set(reg::CONFIG_VECTOR, 0);
        guest.set(reg::QUEUE_SELECT, 0);
        guest.set(reg::QUEUE_DRIVER, at);
        guest.set(reg::QUEUE_ENABLE, 1);
        guest.set(reg::STATUS, 0xf);
        assert_eq!(guest.get(reg::STATUS), 0x4f);
        assert_eq!(guest.msi.vector(0).triggered, 1, "the driver is told");
        assert_eq!(toy.told.lock().unwrap().activations, 0);
        guest.set(reg::STATUS, 0x8f);
        assert_eq!(guest.get(reg::STATUS), 0xcf);
        guest.set(reg::STATUS, 0);
        assert_eq!(guest.get(reg::STATUS), 0);
    }
}

#[test]
fn a_device_that_cannot_start_needs_a_reset_and_may_start_later() {
    let toy = Toy::default();
    toy.told.lock().unwrap().refuse = true;
    let mut guest = Guest::new(toy.clone(), Way::Memory, false);
    guest.initialise(VERSION_1);
    assert_eq!(guest.get(reg::STATUS), 0x4f);
    toy.told.lock().unwrap().refuse = false;
    guest.initialise(VERSION_1);
    assert_eq!(guest.get(reg::STATUS), 0xf);
    assert_eq!(toy.told.lock().unwrap().activations, 1);
}

#[test]
fn a_broken_ring_shows_in_the_status() {
    let mut guest = Guest::new(Rng::new(), Way::Memory, false);
    let mut rings = guest.initialise(VERSION_1);
    rings[0].publish_index(0x7777);
    guest.ring(0);
    assert!(guest.msi.wait(0, 1, TIMEOUT));
    assert_eq!(guest.get(reg::STATUS), 0x4f);
    assert_eq!(guest.read(guest.isr, 1) & 2, 2);
    let status = guest.function.lock().unwrap().status();
    assert!(status.contains(Status::DEVICE_NEEDS_RESET));
    guest.function.lock().unwrap().reset();
    assert_eq!(guest.get(reg::STATUS), 0);
}

#[test]
fn vcpus_that_reset_and_look_at_once_do_not_deadlock() {
    let mut guest = Guest::new(Rng::new(), Way::Memory, false);
    let bar = guest.hands.bar(guest.slot, 0);
    let root = guest.root.clone();
    let slot = guest.slot;
    std::thread::scope(|scope| {
        let looking = scope.spawn(move || {
            let mut hands = Hands::new(&root);
            for round in 0..2000u64 {
                hands.mem32(bar + (round * 4) % 0x40);
                hands.set_mem16(bar + 0x3000, 0);
                hands.config32(slot, 4);
            }
        });
        for _ in 0..50 {
            let mut rings = guest.initialise(VERSION_1);
            let buffer = rings[0].writable(16);
            rings[0].add(&[buffer]);
            rings[0].publish();
            guest.ring(0);
            guest.set(reg::STATUS, 0);
        }
        looking.join().unwrap();
    });
}
