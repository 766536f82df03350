//! How connections end, each direction by itself.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown as How;
use std::time::{Duration, Instant};

use super::super::spec::*;
use super::fixture::*;

const SOON: Duration = Duration::from_millis(50);

/// What a service manager's guest does: say something, close the sending side, read up to the end.
#[test]
fn a_notification_socket() {
    let mut rig = Rig::new();
    let mut host = rig.guest_connects(1, 52);
    rig.send_data(1, 52, b"READY=1");
    rig.shutdown(1, 52, Shutdown::SEND);
    let mut all = String::new();
    host.read_to_string(&mut all).unwrap();
    assert_eq!(all, "READY=1");
    // The host can still answer.
    host.write_all(b"noted").unwrap();
    assert_eq!(rig.expect(Operation::RW).data, b"noted");
    drop(host);
    rig.expect_shutdown(Shutdown::all());
    rig.send(1, 52, Operation::RST);
    rig.expect_silence();
    assert!(rig.device.inspect(|h| h.is_idle()));
}

#[test]
fn the_host_closes_its_sending_side_and_reads_on() {
    let mut rig = Rig::new();
    let (mut client, host) = rig.host_connects(99);
    client.write_all(b"request").unwrap();
    client.shutdown(How::Write).unwrap();
    assert_eq!(rig.expect(Operation::RW).data, b"request");
    rig.expect_shutdown(Shutdown::SEND);
    for piece in [&b"a long "[..], b"answer"] {
        rig.send_data(99, host, piece);
    }
    rig.shutdown(99, host, Shutdown::all());
    assert_eq!(rest(client), "a long answer");
    rig.expect(Operation::RST);
    rig.expect_silence();
}

#[test]
fn the_guest_s_half_close_waits_for_buffered_bytes() {
    let mut rig = Rig::new();
    let mut host = rig.guest_connects(1, 52);
    let data = noise(OUR_BUFFER as usize);
    for piece in data.chunks(32 << 10) {
        rig.send_data(1, 52, piece);
    }
    assert!(rig.counters().tx_bounced_bytes.get() > 0, "nothing is buffered");
    rig.shutdown(1, 52, Shutdown::SEND);
    let mut all = Vec::new();
    host.read_to_end(&mut all).unwrap();
    assert_eq!(all, data);
}

#[test]
fn a_guest_that_closes_both_ways_is_flushed_and_then_reset() {
    let mut rig = Rig::with(|c| c.timeouts.close = Duration::from_secs(60));
    let mut host = rig.guest_connects(1, 52);
    let data = noise(OUR_BUFFER as usize);
    for piece in data.chunks(32 << 10) {
        rig.send_data(1, 52, piece);
    }
    rig.shutdown(1, 52, Shutdown::all());
    rig.expect_silence_but_credit();
    let mut all = Vec::new();
    host.read_to_end(&mut all).unwrap();
    assert_eq!(all, data);
    while rig.recv().op() != Operation::RST {}
    rig.expect_silence();
}

#[test]
fn a_host_that_never_reads_does_not_keep_a_closed_connection() {
    let mut rig = Rig::with(|c| c.timeouts.close = SOON);
    let _host = rig.guest_connects(1, 52);
    for piece in noise(OUR_BUFFER as usize).chunks(32 << 10) {
        rig.send_data(1, 52, piece);
    }
    let began = Instant::now();
    rig.shutdown(1, 52, Shutdown::all());
    while rig.recv().op() != Operation::RST {}
    assert!(began.elapsed() >= SOON);
    assert!(rig.device.inspect(|h| h.is_idle()));
}

#[test]
fn a_guest_that_reads_no_more() {
    let mut rig = Rig::new();
    let mut host = rig.guest_connects(1, 52);
    rig.shutdown(1, 52, Shutdown::RECEIVE);
    assert_eq!(host.write_all(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    rig.send_data(1, 52, b"but it writes");
    assert_eq!(read_exactly(&mut host, 13), b"but it writes");
    rig.shutdown(1, 52, Shutdown::SEND);
    rig.expect(Operation::RST);
    assert_eq!(rest(host), "");
    rig.expect_silence();
}

#[test]
fn a_host_that_reads_no_more() {
    let mut rig = Rig::new();
    let mut host = rig.guest_connects(1, 52);
    host.shutdown(How::Read).unwrap();
    rig.send_data(1, 52, b"into the void");
    rig.expect_shutdown(Shutdown::RECEIVE);
    host.write_all(b"but it writes").unwrap();
    assert_eq!(rig.expect(Operation::RW).data, b"but it writes");
}

#[test]
fn the_end_of_file_comes_after_the_last_byte() {
    let mut rig = Rig::new();
    let mut host = rig.guest_connects(1, 52);
    let data = noise(100_000);
    rig.credit(1, 52, 1000, 0);
    host.write_all(&data).unwrap();
    drop(host);
    let mut all = Vec::new();
    let mut ends = Shutdown::empty();
    while !ends.contains(Shutdown::SEND) {
        let packet = rig.recv();
        match packet.op() {
            Operation::RW => {
                all.extend(packet.data);
                rig.credit(1, 52, 1000, all.len() as u32);
            }
            Operation::SHUTDOWN => ends = Shutdown::from_bits_retain(packet.header.flags.get()),
            Operation::CREDIT_REQUEST => {}
            _ => panic!("{packet:?}"),
        }
    }
    assert_eq!(all.len(), data.len());
    assert_eq!(all, data);
    assert_eq!(ends, Shutdown::all());
}

#[test]
fn a_guest_that_ignores_the_end_is_reset_in_time() {
    let mut rig = Rig::with(|c| c.timeouts.close = SOON);
    drop(rig.guest_connects(1, 52));
    rig.expect_shutdown(Shutdown::all());
    // Nothing happens but time.
    rig.expect(Operation::RST);
    assert!(rig.device.inspect(|h| h.is_idle()));
}

#[test]
fn an_rst_is_not_answered() {
    let mut rig = Rig::new();
    rig.send(1, 2, Operation::RST);
    let host = rig.guest_connects(1, 52);
    rig.send(1, 52, Operation::RST);
    rig.send(1, 52, Operation::RST);
    assert_eq!(rest(host), "");
    let odd = Header { socket_type: SocketType(9.into()), ..rig.header(1, 52, Operation::RST) };
    rig.send_header(odd);
    rig.expect_silence();
}

#[test]
fn a_host_that_fails_resets_the_guest() {
    let mut rig = Rig::new();
    let mut host = rig.guest_connects(1, 52);
    // What is closed with bytes unread fails at the other end.
    rig.send_data(1, 52, b"never read");
    host.write_all(b"last words").unwrap();
    assert_eq!(rig.expect(Operation::RW).data, b"last words");
    drop(host);
    rig.expect_end(1, 52);
}

impl Rig {
    /// An RST, or a shutdown of both directions, is what a guest needs to hear.
    fn expect_end(&mut self, guest: u32, host: u32) {
        loop {
            let packet = self.recv();
            assert_eq!((packet.guest_port(), packet.host_port()), (guest, host));
            match packet.op() {
                Operation::RST => return,
                Operation::SHUTDOWN if packet.header.flags.get() == Shutdown::all().bits() => return,
                Operation::SHUTDOWN => {}
                _ => panic!("{packet:?}"),
            }
        }
    }
}
