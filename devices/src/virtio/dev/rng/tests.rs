//! The entropy device, driven through its ring.

use super::Rng;
use super::worker::MAX_BYTES;
use crate::virtio::queue::testing::Buffer;
use crate::virtio::testing::{Harness, TIMEOUT};
use crate::virtio::{DeviceType, Features, VirtioDevice};

fn active(features: Features) -> (Harness, Rng) {
    let machine = Harness::new(&[64], features);
    let mut rng = Rng::new();
    rng.activate(machine.activation()).unwrap();
    (machine, rng)
}

#[test]
fn it_is_an_entropy_device_with_one_queue() {
    let rng = Rng::new();
    assert_eq!(rng.device_type(), DeviceType::ENTROPY);
    assert_eq!(rng.queue_sizes().len(), 1);
    let mut config = [0; 4];
    rng.config_read(0, &mut config);
    assert_eq!(config, [0; 4], "it has no configuration");
}

#[test]
fn buffers_of_any_shape_are_filled() {
    for features in [Features::empty(), Features::RING_EVENT_IDX] {
        let (mut machine, rng) = active(features);
        for _ in 0..200 {
            let buffers = [machine.drivers[0].writable(5), machine.drivers[0].writable(8000)];
            let head = machine.drivers[0].add(&buffers);
            machine.kick(0);
            let done = machine.completion(0, TIMEOUT).unwrap();
            assert_eq!((done.head, done.len), (head, 8005));
            let bytes = machine.drivers[0].bytes(buffers[1]);
            assert!(bytes.chunks(1000).all(|c| c.iter().any(|b| *b != 0)), "a hole in the entropy");
        }
        let stats = rng.counters().stats();
        assert_eq!((stats.requests, stats.bytes, stats.failed), (200, 200 * 8005, 0));
    }
}

#[test]
fn many_requests_at_once_are_all_answered() {
    let (mut machine, _rng) = active(Features::RING_EVENT_IDX);
    for _ in 0..64 {
        let buffer = machine.drivers[0].writable(64);
        machine.drivers[0].add(&[buffer]);
    }
    machine.kick(0);
    (0..64).for_each(|i| assert_eq!(machine.completion(0, TIMEOUT).unwrap().len, 64, "request {i}"));
}

#[test]
fn a_large_request_is_bounded_and_one_without_room_comes_back_empty() {
    let (mut machine, rng) = active(Features::empty());
    let large = Buffer::Writable(0x20_0000, 0x10_0000);
    machine.drivers[0].add(&[large]);
    let readable = machine.drivers[0].readable(b"no room");
    machine.drivers[0].add(&[readable]);
    machine.kick(0);
    assert_eq!(machine.completion(0, TIMEOUT).unwrap().len as usize, MAX_BYTES);
    assert_eq!(machine.completion(0, TIMEOUT).unwrap().len, 0);
    assert_eq!(rng.counters().stats().failed, 1);
}

#[test]
fn a_broken_ring_asks_for_a_reset_after_which_the_device_serves_again() {
    let (mut machine, mut rng) = active(Features::empty());
    machine.drivers[0].publish_index(0x4000);
    machine.kicks[0].ring();
    assert!(machine.signals.wait(TIMEOUT, |seen| seen.needs_reset == 1));
    rng.reset();
    rng.reset();
    machine.renew(0);
    rng.activate(machine.activation()).unwrap();
    assert_eq!(rng.counters().log.asked(), 1, "what was said before is not forgotten");
    let buffer = machine.drivers[0].writable(16);
    machine.drivers[0].add(&[buffer]);
    machine.kick(0);
    assert_eq!(machine.completion(0, TIMEOUT).unwrap().len, 16);
}

#[test]
fn a_missing_queue_is_an_error_of_activation() {
    let machine = Harness::new(&[64], Features::empty());
    let mut activation = machine.activation();
    activation.queues[0] = None;
    assert!(Rng::new().activate(activation).is_err());
}

#[test]
fn the_harness_notices_a_device_that_does_nothing() {
    let mut machine = Harness::new(&[8], Features::empty());
    let buffer = machine.drivers[0].writable(16);
    machine.drivers[0].add(&[buffer]);
    machine.kick(0);
    assert_eq!(machine.completion(0, std::time::Duration::from_millis(20)), None);
}

#[test]
fn no_wakeup_is_lost_in_either_direction() {
    for features in [Features::empty(), Features::RING_EVENT_IDX] {
        let (mut machine, _rng) = active(features);
        for round in 0..3000 {
            let buffer = machine.drivers[0].writable(8);
            machine.drivers[0].add(&[buffer]);
            // Rung only if the device asked for it, and waited for only by interrupt.
            machine.kick(0);
            assert!(machine.completion(0, TIMEOUT).is_some(), "{features:?}, round {round}");
        }
    }
}
