//! The host connects to the guest.

use std::io::Write;
use std::net::Shutdown as How;
use std::time::Duration;

use super::super::spec::*;
use super::fixture::*;
use crate::virtio::VirtioDevice;

const SOON: Duration = Duration::from_millis(50);

#[test]
fn a_client_talks_to_the_guest() {
    let mut rig = Rig::new();
    let (mut client, host) = rig.host_connects(1024);
    client.write_all(b"ping").unwrap();
    assert_eq!(rig.expect(Operation::RW).data, b"ping");
    rig.send_data(1024, host, b"pong");
    assert_eq!(read_exactly(&mut client, 4), b"pong");
}

#[test]
fn a_line_byte_by_byte() {
    let mut rig = Rig::new();
    let mut client = rig.client();
    for byte in b"CONNECT 99\n" {
        client.write_all(&[*byte]).unwrap();
        // The worker has seen it: it answers us only after what came before.
        rig.expect_or_silence(*byte == b'\n');
    }
    assert_eq!(rig.expect(Operation::REQUEST).guest_port(), 99);
}

impl Rig {
    /// A packet of the guest's and its answer, so that the worker has had events to look at.
    fn expect_or_silence(&mut self, last: bool) {
        if !last {
            self.expect_silence();
        }
    }
}

#[test]
fn data_right_behind_the_line() {
    let mut rig = Rig::new();
    let mut client = rig.client();
    client.write_all(b"CONNECT 99\nand\nmore").unwrap();
    client.shutdown(How::Write).unwrap();
    let request = rig.expect(Operation::REQUEST);
    rig.expect_silence();
    rig.send(99, request.host_port(), Operation::RESPONSE);
    assert_eq!(rig.expect(Operation::RW).data, b"and\nmore");
    rig.expect_shutdown(Shutdown::SEND);
    rig.send_data(99, request.host_port(), b"answer");
    rig.shutdown(99, request.host_port(), Shutdown::all());
    assert_eq!(rest(client), format!("OK {}\nanswer", request.host_port()));
}

#[test]
fn bad_lines_are_answered_with_why() {
    let mut rig = Rig::new();
    for (sent, answer) in [
        ("HELLO\n".to_owned(), "ERR malformed\n"),
        ("CONNECT many\n".to_owned(), "ERR bad-number\n"),
        ("CONNECT 4294967295\n".to_owned(), "ERR bad-number\n"),
        (format!("CONNECT {}", "0".repeat(100)), "ERR too-long\n"),
        ("x".repeat(10_000), "ERR too-long\n"),
    ] {
        let mut client = rig.client();
        client.write_all(sent.as_bytes()).unwrap();
        assert_eq!(rest(client), answer, "{sent}");
    }
    rig.expect_silence();
    assert_eq!(rig.counters().bad_lines.get(), 5);
    assert!(rig.device.inspect(|h| h.is_idle()));
}

#[test]
fn no_line_in_time() {
    // Nothing else happens: the timer fires by itself.
    let rig = Rig::with(|c| c.timeouts.line = SOON);
    let mut client = rig.client();
    client.write_all(b"CONNECT 1").unwrap();
    assert_eq!(rest(client), "ERR no-line\n");
    assert_eq!(rest(rig.client()), "ERR no-line\n");
}

#[test]
fn the_guest_refuses() {
    let mut rig = Rig::new();
    let mut client = rig.client();
    client.write_all(b"CONNECT 99\n").unwrap();
    let host = rig.expect(Operation::REQUEST).host_port();
    rig.send(99, host, Operation::RST);
    assert_eq!(rest(client), "ERR refused\n");
    rig.expect_silence();
    assert_eq!(rig.counters().guest_refused.get(), 1);
}

#[test]
fn the_guest_answers_nonsense() {
    let mut rig = Rig::new();
    for op in [Operation::SHUTDOWN, Operation::RW, Operation::CREDIT_REQUEST] {
        let mut client = rig.client();
        client.write_all(b"CONNECT 99\n").unwrap();
        let host = rig.expect(Operation::REQUEST).host_port();
        rig.send(99, host, op);
        assert_eq!(rest(client), "ERR refused\n");
        rig.expect(Operation::RST);
    }
    rig.expect_silence();
}

#[test]
fn the_guest_never_answers_and_the_slot_is_free_again() {
    let mut rig = Rig::with(|c| {
        c.timeouts.response = SOON;
        c.max_connections = 1;
    });
    let mut client = rig.client();
    client.write_all(b"CONNECT 99\n").unwrap();
    rig.expect(Operation::REQUEST);
    assert_eq!(rest(client), "ERR timeout\n");
    rig.expect(Operation::RST);
    assert_eq!(rig.counters().timeouts.get(), 1);
    // The same where the guest has no buffer for the request: it never hears of it.
    let mut rig = Rig::starved(|c| {
        c.timeouts.response = SOON;
        c.max_connections = 1;
    });
    for _ in 0..2 {
        let mut client = rig.client();
        client.write_all(b"CONNECT 99\n").unwrap();
        assert_eq!(rest(client), "ERR timeout\n");
    }
    rig.post(4, 4096);
    rig.expect_silence();
}

#[test]
fn a_client_says_how_long_it_waits() {
    let mut rig = Rig::new();
    let mut client = rig.client();
    client.write_all(b"CONNECT 99 50\n").unwrap();
    rig.expect(Operation::REQUEST);
    assert_eq!(rest(client), "ERR timeout\n");
}

#[test]
fn clients_who_come_before_the_driver_are_held() {
    let mut rig = Rig::asleep(|_| {});
    let mut early = rig.client();
    early.write_all(b"CONNECT 99\nfirst words").unwrap();
    let mut split = rig.client();
    split.write_all(b"CONN").unwrap();
    rig.activate();
    rig.post(20, 4096);
    let request = rig.expect(Operation::REQUEST);
    assert_eq!(request.guest_port(), 99);
    rig.send(99, request.host_port(), Operation::RESPONSE);
    assert_eq!(line(&mut early), format!("OK {}\n", request.host_port()));
    assert_eq!(rig.expect(Operation::RW).data, b"first words");
    split.write_all(b"ECT 98\n").unwrap();
    assert_eq!(rig.expect(Operation::REQUEST).guest_port(), 98);
}

#[test]
fn a_client_that_was_held_has_the_guest_s_time_to_answer() {
    let mut rig = Rig::asleep(|c| c.timeouts.response = SOON);
    let mut client = rig.client();
    client.write_all(b"CONNECT 99\n").unwrap();
    rig.wait_for_clients(1);
    rig.activate();
    rig.post(4, 4096);
    rig.expect(Operation::REQUEST);
    assert_eq!(rest(client), "ERR timeout\n");
}

#[test]
fn clients_wait_for_the_driver_no_longer_than_they_may() {
    let rig = Rig::asleep(|c| c.timeouts.driver = SOON);
    let mut client = rig.client();
    client.write_all(b"CONNECT 99\n").unwrap();
    assert_eq!(rest(client), "ERR no-driver\n");
    let patient = Rig::asleep(|_| {});
    let mut client = patient.client();
    client.write_all(b"CONNECT 99 50\n").unwrap();
    assert_eq!(rest(client), "ERR no-driver\n");
}

#[test]
fn a_client_that_leaves_while_it_waits() {
    let mut rig = Rig::new();
    let mut client = rig.client();
    client.write_all(b"CONNECT 99\n").unwrap();
    let host = rig.expect(Operation::REQUEST).host_port();
    drop(client);
    assert_eq!(rig.expect(Operation::RST).host_port(), host);
    rig.send(99, host, Operation::RESPONSE);
    rig.expect(Operation::RST);
    rig.expect_silence();
    // And while it waits for the driver.
    let mut rig = Rig::asleep(|_| {});
    let mut client = rig.client();
    client.write_all(b"CONNECT 99\n").unwrap();
    drop(client);
    rig.activate();
    rig.post(4, 4096);
    rig.wait_for_clients(0);
    // It may have been taken for alive at first; then it is reset.
    rig.send(0xdead, 0xbeef, Operation::RW);
    while rig.recv().guest_port() != 0xdead {}
    assert!(rig.device.inspect(|h| h.is_idle()));
}

#[test]
fn descriptors_that_a_client_sends_are_nobody_s() {
    use rustix::io::IoSlice;
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    let mut rig = Rig::new();
    let (client, _) = rig.host_connects(99);
    let (sent, kept) = UnixStream::pair().unwrap();
    let descriptors = [sent.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    sendmsg(&client, &[IoSlice::new(b"take this")], &mut control, SendFlags::empty()).unwrap();
    drop(sent);
    assert_eq!(rig.expect(Operation::RW).data, b"take this");
    assert_eq!(rest(timely(kept)), "", "the device holds a client's file");
}

#[test]
fn ports_of_clients_are_their_own() {
    let mut rig = Rig::new();
    let (_one, first) = rig.host_connects(99);
    let (_two, second) = rig.host_connects(99);
    assert_ne!(first, second);
}

#[test]
fn a_pre_bound_socket_serves_and_stays() {
    use super::super::{Vsock, VsockConfig};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v");
    let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut config = VsockConfig::new(5, &path);
    config.timeouts.driver = SOON;
    let mut device = Vsock::with_listener(config, socket).unwrap();
    let mut client = timely(std::os::unix::net::UnixStream::connect(&path).unwrap());
    client.write_all(b"CONNECT 1\n").unwrap();
    assert_eq!(rest(client), "ERR no-driver\n");
    device.reset();
    drop(device);
    assert!(path.exists());
}
