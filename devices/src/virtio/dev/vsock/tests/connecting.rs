//! The guest connects to the host.

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use super::super::spec::*;
use super::fixture::*;
use crate::virtio::{DeviceType, VirtioDevice};

#[test]
fn the_device_says_what_it_is() {
    let rig = Rig::new();
    assert_eq!(rig.device.device_type(), DeviceType::VSOCK);
    assert_eq!(rig.device.queue_sizes().len(), 3);
    assert!(rig.device.features().contains(FEATURE_STREAM));
    let mut cid = [0xff; 10];
    rig.device.config_read(0, &mut cid[..8]);
    assert_eq!(cid[..8], rig.cid.to_le_bytes());
    let mut high = [0xff; 4];
    rig.device.config_read(4, &mut high);
    assert_eq!(high, [0; 4]);
    let mut beyond = [0; 4];
    rig.device.config_read(u64::MAX, &mut beyond);
    assert_eq!(beyond, [0; 4]);
}

#[test]
fn a_guest_talks_to_a_host_listener() {
    let mut rig = Rig::new();
    let mut host = rig.guest_connects(1234, 52);
    rig.send_data(1234, 52, b"hello from the guest");
    assert_eq!(read_exactly(&mut host, 20), b"hello from the guest");
    host.write_all(b"hello from the host").unwrap();
    let packet = rig.expect(Operation::RW);
    assert_eq!(packet.data, b"hello from the host");
    assert_eq!((packet.guest_port(), packet.host_port()), (1234, 52));
    assert_eq!(packet.fwd_cnt(), 20);
    assert_eq!(rig.counters().tx_bounced_bytes.get(), 0, "no copy where the host keeps up");
}

#[test]
fn nobody_listens() {
    let mut rig = Rig::new();
    rig.send(1, 52, Operation::REQUEST);
    assert_eq!(rig.expect(Operation::RST).host_port(), 52);
    // A socket file that nobody listens on.
    drop(rig.listen(53));
    rig.send(1, 53, Operation::REQUEST);
    assert_eq!(rig.expect(Operation::RST).host_port(), 53);
    // A path that is no socket.
    std::fs::write(format!("{}_54", rig.path.display()), b"").unwrap();
    rig.send(1, 54, Operation::REQUEST);
    assert_eq!(rig.expect(Operation::RST).host_port(), 54);
    rig.expect_silence();
    assert_eq!(rig.counters().host_refused.get(), 3);
}

/// A listener whose queue is full, and one connection that is in it.
fn full(rig: &Rig, port: u32) -> (UnixListener, std::os::unix::net::UnixStream) {
    let listener = rig.listen(port);
    rustix::net::listen(&listener, 0).unwrap();
    let path = format!("{}_{port}", rig.path.display());
    let first = std::os::unix::net::UnixStream::connect(path).unwrap();
    (listener, first)
}

#[test]
fn a_listener_with_a_full_queue_is_tried_again_and_others_do_not_wait() {
    let mut rig = Rig::new();
    let (listener, _first) = full(&rig, 52);
    rig.send(1, 52, Operation::REQUEST);
    rig.expect_silence();
    let mut other = rig.guest_connects(2, 53);
    rig.send_data(2, 53, b"x");
    assert_eq!(read_exactly(&mut other, 1), b"x");
    drop(accept(&listener));
    let response = rig.expect(Operation::RESPONSE);
    assert_eq!((response.guest_port(), response.host_port()), (1, 52));
    accept(&listener);
}

#[test]
fn a_listener_that_stays_full_is_given_up() {
    let mut rig = Rig::with(|c| c.timeouts.response = Duration::from_millis(50));
    let (_listener, _first) = full(&rig, 52);
    rig.send(1, 52, Operation::REQUEST);
    assert_eq!(rig.expect(Operation::RST).host_port(), 52);
    assert_eq!(rig.counters().timeouts.get(), 1);
    rig.expect_silence();
    // Given up before it was through: no connection is left behind.
    assert!(rig.device.inspect(|h| h.is_idle()));
}

#[test]
fn shutdown_before_the_response() {
    let mut rig = Rig::new();
    let (_listener, _first) = full(&rig, 52);
    rig.send(1, 52, Operation::REQUEST);
    rig.shutdown(1, 52, Shutdown::all());
    assert_eq!(rig.expect(Operation::RST).guest_port(), 1);
    rig.expect_silence();
}

#[test]
fn a_request_where_an_rst_is_pending() {
    let mut rig = Rig::starved(|_| {});
    let listener = rig.listen(52);
    // No buffers: the RST stays owed.
    rig.send(7, 52, Operation::RW);
    rig.send(7, 52, Operation::REQUEST);
    let mut host = accept(&listener);
    rig.post(4, 4096);
    rig.expect(Operation::RESPONSE);
    rig.send_data(7, 52, b"alive");
    assert_eq!(read_exactly(&mut host, 5), b"alive");
    rig.expect_silence();
}

#[test]
fn the_same_pair_again_at_once() {
    let mut rig = Rig::new();
    let listener = rig.listen(52);
    for round in 0..50u8 {
        let mut host = rig.guest_connects_to(&listener, 7, 52);
        rig.send_data(7, 52, &[round]);
        assert_eq!(read_exactly(&mut host, 1), [round]);
        // Ended in different ways, the new one begins before the host has heard of it.
        match round % 3 {
            0 => rig.send(7, 52, Operation::RST),
            1 => {
                rig.shutdown(7, 52, Shutdown::all());
                rig.expect(Operation::RST);
            }
            _ => {} // The guest forgot: the request itself ends the old one.
        }
        let old = host;
        let mut new = rig.guest_connects_to(&listener, 7, 52);
        assert_eq!(rest(old), "");
        rig.send_data(7, 52, b"new");
        assert_eq!(read_exactly(&mut new, 3), b"new");
        rig.send(7, 52, Operation::RST);
    }
    rig.expect_silence();
}

#[test]
fn what_the_old_connection_s_socket_does_is_not_the_new_one_s_business() {
    let mut rig = Rig::new();
    let listener = rig.listen(52);
    let old = rig.guest_connects_to(&listener, 7, 52);
    let mut new = rig.guest_connects_to(&listener, 7, 52);
    drop(old);
    new.write_all(b"fine").unwrap();
    assert_eq!(rig.expect(Operation::RW).data, b"fine");
    rig.expect_silence();
}
