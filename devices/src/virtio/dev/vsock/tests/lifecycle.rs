//! Reset, activation, restore and the end of the device.

use std::io::{Read, Write};

use super::super::spec::*;
use super::super::{Vsock, VsockConfig, VsockError};
use super::fixture::*;
use crate::virtio::testing::TIMEOUT;
use crate::virtio::{ActivateError, VirtioDevice};

#[test]
fn a_reset_closes_the_host_s_sockets_and_keeps_the_listener() {
    let mut rig = Rig::new();
    let from_guest = rig.guest_connects(1, 52);
    let (from_host, _) = rig.host_connects(99);
    let mut waiting = rig.client();
    waiting.write_all(b"CONNECT 98\n").unwrap();
    rig.expect(Operation::REQUEST);
    rig.device.reset();
    assert_eq!(rest(from_guest), "");
    assert_eq!(rest(from_host), "");
    assert_eq!(rest(waiting), "ERR reset\n");
    assert!(rig.device.inspect(|h| h.is_idle()));
    // Clients are heard in the meantime too, and a second reset does no harm.
    let mut early = rig.client();
    early.write_all(b"CONNECT 97\n").unwrap();
    rig.device.reset();
    rig.reactivate();
    rig.post(20, 4096);
    assert_eq!(rig.expect(Operation::REQUEST).guest_port(), 97);
    let mut host = rig.guest_connects(1, 52);
    rig.send_data(1, 52, b"again");
    assert_eq!(read_exactly(&mut host, 5), b"again");
}

#[test]
fn a_stopped_device_touches_no_queue() {
    let mut rig = Rig::new();
    let mut host = rig.guest_connects(1, 52);
    rig.device.reset();
    let used = rig.h.drivers[RX].used_index();
    let _ = host.write_all(b"to nobody");
    let mut client = rig.client();
    client.write_all(b"nonsense\n").unwrap();
    // The worker is alive, and has had its chance.
    assert_eq!(rest(client), "ERR malformed\n");
    assert_eq!(rig.h.drivers[RX].used_index(), used);
}

#[test]
fn activation_needs_its_queues_and_a_failed_one_leaves_the_device_as_it_was() {
    let mut rig = Rig::asleep(|_| {});
    let mut client = rig.client();
    client.write_all(b"CONNECT 99\n").unwrap();
    for missing in [RX, TX] {
        let mut activation = rig.h.activation();
        activation.queues[missing] = None;
        let refused = rig.device.activate(activation);
        assert!(matches!(refused, Err(ActivateError::QueueMissing { .. })));
    }
    let mut activation = rig.h.activation();
    activation.queues[EVENT] = None;
    rig.device.activate(activation).unwrap();
    rig.post(4, 4096);
    assert_eq!(rig.expect(Operation::REQUEST).guest_port(), 99);
}

#[test]
fn a_restored_guest_is_told_once_when_it_has_a_buffer_for_it() {
    let mut rig = Rig::asleep(|_| {});
    rig.device.restored();
    rig.activate();
    rig.post(4, 4096);
    rig.expect_silence();
    let event = rig.h.drivers[EVENT].writable(4);
    let small = rig.h.drivers[EVENT].writable(3);
    rig.h.drivers[EVENT].add(&[small]);
    rig.h.drivers[EVENT].add(&[event]);
    let spare = rig.h.drivers[EVENT].writable(4);
    rig.h.drivers[EVENT].add(&[spare]);
    rig.h.kick(EVENT);
    assert_eq!(rig.h.completion(EVENT, TIMEOUT).unwrap().len, 0);
    assert_eq!(rig.h.completion(EVENT, TIMEOUT).unwrap().len, 4);
    assert_eq!(rig.h.drivers[EVENT].bytes(event), [0; 4]);
    rig.expect_silence();
    assert_eq!(rig.h.drivers[EVENT].completed(), Ok(None), "told twice");
}

#[test]
fn packets_from_before_the_doorbell_was_watched_are_found() {
    let mut rig = Rig::asleep(|_| {});
    let listener = rig.listen(52);
    rig.post(4, 4096);
    let request = rig.header(1, 52, Operation::REQUEST);
    let request = rig.h.drivers[TX].readable(zerocopy::IntoBytes::as_bytes(&request));
    rig.h.drivers[TX].add(&[request]);
    rig.h.drivers[TX].publish(); // And no kick.
    rig.activate();
    rig.expect(Operation::RESPONSE);
    accept(&listener);
}

#[test]
fn the_path_is_the_device_s_for_as_long_as_it_lives() {
    let rig = Rig::asleep(|_| {});
    let path = rig.path.clone();
    let taken = Vsock::new(VsockConfig::new(9, &path));
    let Err(e @ VsockError::PathExists { .. }) = taken else { panic!("{taken:?}") };
    assert!(e.to_string().contains("exists"), "{e}");
    assert!(matches!(Vsock::new(VsockConfig::new(2, "/x")), Err(VsockError::BadCid { .. })));
    // A client that nobody has answered yet sees the end, one way or the other.
    let mut client = rig.client();
    drop(rig.device);
    assert!(!matches!(client.read(&mut [0]), Ok(1..)));
    assert!(!path.exists());
}
