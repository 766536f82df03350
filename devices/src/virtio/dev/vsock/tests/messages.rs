//! Sockets that keep message boundaries (SEQPACKET).

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags};
use zerocopy::IntoBytes;

use super::super::spec::*;
use super::fixture::*;
use crate::virtio::testing::TIMEOUT;
use crate::virtio::{Features, VirtioDevice};

/// The host's end of a connection.
struct Peer(OwnedFd);

impl Peer {
    fn send(&self, message: &[u8]) {
        let n = rustix::net::send(&self.0, message, SendFlags::NOSIGNAL).unwrap();
        assert_eq!(n, message.len());
    }

    fn recv(&self) -> Vec<u8> {
        let mut message = vec![0; 300 << 10];
        let (n, _) = rustix::net::recv(&self.0, message.as_mut_slice(), RecvFlags::empty()).expect("in time");
        message.truncate(n);
        message
    }

    fn connect(path: &Path) -> Peer {
        let socket = new_socket();
        rustix::net::connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
        Peer(timely(socket))
    }
}

fn new_socket() -> OwnedFd {
    let kind = rustix::net::SocketType::SEQPACKET;
    rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
}

fn timely(socket: OwnedFd) -> OwnedFd {
    for which in [Timeout::Recv, Timeout::Send] {
        set_socket_timeout(&socket, which, Some(TIMEOUT)).unwrap();
    }
    // Large messages of ours fit too.
    rustix::net::sockopt::set_socket_send_buffer_size(&socket, 1 << 20).unwrap();
    socket
}

impl Rig {
    fn with_messages() -> Rig {
        let mut rig = Rig::asleep(|_| {});
        rig.h.features |= FEATURE_SEQPACKET | FEATURE_STREAM | FEATURE_NO_IMPLIED_STREAM;
        rig.kind = SocketType::SEQPACKET;
        rig.activate_and_refill();
        rig
    }

    fn message_path(&self) -> PathBuf {
        format!("{}.seqpacket", self.path.display()).into()
    }

    pub(super) fn message_listener(&self, port: u32) -> OwnedFd {
        let socket = new_socket();
        let address = SocketAddrUnix::new(format!("{}_{port}", self.path.display())).unwrap();
        rustix::net::bind(&socket, &address).unwrap();
        rustix::net::listen(&socket, 8).unwrap();
        timely(socket)
    }

    /// The guest's port 1 is connected to the host's port 52.
    fn connected(&mut self) -> Peer {
        let listener = self.message_listener(52);
        self.send(1, 52, Operation::REQUEST);
        assert_eq!(self.expect(Operation::RESPONSE).header.socket_type, SocketType::SEQPACKET);
        std::fs::remove_file(format!("{}_52", self.path.display())).unwrap();
        Peer(timely(rustix::net::accept(&listener).unwrap()))
    }

    fn part(&mut self, data: &[u8], flags: Message) {
        let header = Header { flags: flags.bits().into(), ..self.data_header(1, 52, data) };
        match data {
            [] => self.send_pieces(&[header.as_bytes()]),
            _ => self.send_pieces(&[header.as_bytes(), data]),
        }
    }

    fn expect_part(&mut self) -> (Vec<u8>, Message) {
        let packet = self.recv_but_credit();
        assert_eq!((packet.op(), packet.header.socket_type), (Operation::RW, SocketType::SEQPACKET));
        (packet.data, Message::from_bits_retain(packet.header.flags.get()))
    }
}

#[test]
fn the_guest_s_messages_stay_apart() {
    let mut rig = Rig::with_messages();
    let peer = rig.connected();
    rig.part(b"one", Message::EOM);
    rig.part(b"t", Message::empty());
    rig.part(b"w", Message::empty());
    rig.part(b"o", Message::EOM | Message::EOR);
    rig.part(b"", Message::EOM);
    rig.part(b"thr", Message::empty());
    rig.part(b"", Message::empty());
    rig.part(b"ee", Message::EOM);
    for message in ["one", "two", "", "three"] {
        assert_eq!(peer.recv(), message.as_bytes());
    }
    rig.shutdown(1, 52, Shutdown::SEND);
    assert_eq!(peer.recv(), b"");
    rig.expect_silence_but_credit();
}

#[test]
fn the_host_s_messages_stay_apart_whatever_their_size() {
    let mut rig = Rig::with_messages();
    let peer = rig.connected();
    let long = noise(100_000);
    for message in [&b"one"[..], b"", b"two", &long, b"", b"last"] {
        peer.send(message);
    }
    drop(peer);
    assert_eq!(rig.expect_part(), (b"one".to_vec(), Message::EOM));
    assert_eq!(rig.expect_part(), (b"".to_vec(), Message::EOM));
    assert_eq!(rig.expect_part(), (b"two".to_vec(), Message::EOM));
    let mut all = Vec::new();
    loop {
        let (part, flags) = rig.expect_part();
        all.extend(part);
        if flags == Message::EOM {
            break;
        }
        assert_eq!(flags, Message::empty());
    }
    assert!(all == long);
    assert_eq!(rig.expect_part(), (b"".to_vec(), Message::EOM));
    assert_eq!(rig.expect_part(), (b"last".to_vec(), Message::EOM));
    rig.expect_shutdown(Shutdown::all());
}

#[test]
fn a_client_connects_with_messages() {
    let mut rig = Rig::with_messages();
    let client = Peer::connect(&rig.message_path());
    client.send(b"CONNECT 99\n");
    client.send(b"right behind");
    let request = rig.expect(Operation::REQUEST);
    assert_eq!(request.header.socket_type, SocketType::SEQPACKET);
    let host = request.host_port();
    rig.send(99, host, Operation::RESPONSE);
    assert_eq!(client.recv(), format!("OK {host}\n").as_bytes());
    assert_eq!(rig.expect_part(), (b"right behind".to_vec(), Message::EOM));
    for (line, answer) in [
        (&b"CONNECT 99"[..], "ERR malformed\n"),
        (b"CONNECT 99\nand data", "ERR malformed\n"),
        (b"", "ERR malformed\n"),
        (&[b'1'; 65], "ERR too-long\n"),
        (format!("CONNECT {:055}\nx", 9).as_bytes(), "ERR too-long\n"),
    ] {
        let client = Peer::connect(&rig.message_path());
        client.send(line);
        assert_eq!(client.recv(), answer.as_bytes(), "{line:?}");
    }
    // The other socket is for streams still.
    rig.kind = SocketType::STREAM;
    rig.host_connects(98);
}

#[test]
fn messages_that_the_host_does_not_take_wait_whole() {
    let mut rig = Rig::with_messages();
    let peer = rig.connected();
    let mut sent = 0u32;
    let mut messages = Vec::new();
    for i in 1..=13u32 {
        let message = noise(i as usize * 2900);
        sent += message.len() as u32;
        for (piece, left) in message.chunks(10_000).zip((0..message.len().div_ceil(10_000)).rev()) {
            rig.part(piece, if left == 0 { Message::EOM } else { Message::empty() });
        }
        messages.push(message);
    }
    // Beyond what the host's socket holds, and within the guest's credit.
    let more = noise(5);
    for _ in 0..2000 {
        rig.part(&more, Message::EOM);
        sent += 5;
    }
    assert_eq!(rig.counters().credit_violations.get(), 0);
    assert!(rig.counters().tx_bounced_bytes.get() > 0);
    for message in &messages {
        assert!(peer.recv() == *message, "a message of {} bytes", message.len());
    }
    for _ in 0..2000 {
        assert_eq!(peer.recv(), more);
    }
    rig.send(1, 52, Operation::CREDIT_REQUEST);
    while rig.expect(Operation::CREDIT_UPDATE).fwd_cnt() != sent {
        rig.send(1, 52, Operation::CREDIT_REQUEST);
    }
    assert_eq!(rig.device.inspect(|h| h.held()), 0);
}

#[test]
fn a_message_that_can_never_end_is_reset() {
    let mut rig = Rig::with_messages();
    let peer = rig.connected();
    for piece in noise(OUR_BUFFER as usize).chunks(64 << 10) {
        rig.part(piece, Message::empty());
    }
    assert_eq!(rig.recv_but_credit().op(), Operation::RST);
    assert_eq!(peer.recv(), b"", "half a message is none");
    // Nor one that the guest says it has no more of.
    let peer = rig.connected();
    rig.part(b"half", Message::empty());
    rig.shutdown(1, 52, Shutdown::SEND);
    assert_eq!(rig.recv_but_credit().op(), Operation::RST);
    assert_eq!(peer.recv(), b"");
    assert!(rig.device.inspect(|h| h.is_idle()));
}

#[test]
fn a_message_that_the_guest_has_no_room_for_ends_the_connection() {
    let mut rig = Rig::with_messages();
    let peer = rig.connected();
    rig.credit(1, 52, 50_000, 0);
    peer.send(&noise(50_001));
    assert_eq!(rig.recv_but_credit().op(), Operation::RST);
    // One that fits exactly arrives.
    let peer = rig.connected();
    rig.credit(1, 52, 50_000, 0);
    peer.send(&noise(50_000));
    let mut all = Vec::new();
    while all.len() < 50_000 {
        all.extend(rig.expect_part().0);
    }
    assert!(all == noise(50_000));
}

#[test]
fn messages_without_bytes_are_bounded_too() {
    let mut rig = Rig::with_messages();
    let _peer = rig.connected();
    for _ in 0..20_000 {
        rig.part(b"", Message::EOM);
        if rig.counters().protocol_errors.get() > 0 {
            return;
        }
    }
    panic!("20,000 messages are kept for a host that does not read");
}

#[test]
fn kinds_of_sockets_are_as_negotiated() {
    for (features, stream, seqpacket) in [
        (Features::empty(), true, false),
        (FEATURE_STREAM, true, false),
        (FEATURE_NO_IMPLIED_STREAM, true, false),
        (FEATURE_SEQPACKET, true, true),
        (FEATURE_SEQPACKET | FEATURE_NO_IMPLIED_STREAM, false, true),
        (FEATURE_SEQPACKET | FEATURE_NO_IMPLIED_STREAM | FEATURE_STREAM, true, true),
    ] {
        let mut rig = Rig::asleep(|_| {});
        rig.h.features |= features;
        rig.activate_and_refill();
        let _listener = (rig.listen(50), rig.message_listener(51));
        for (port, kind, there) in [(50, SocketType::STREAM, stream), (51, SocketType::SEQPACKET, seqpacket)]
        {
            rig.kind = kind;
            rig.send(1, port, Operation::REQUEST);
            rig.expect(if there { Operation::RESPONSE } else { Operation::RST });
        }
    }
    let offered = Rig::asleep(|c| c.seqpacket = false).device.features();
    assert!(!offered.intersects(FEATURE_SEQPACKET | FEATURE_NO_IMPLIED_STREAM));
    assert!(Rig::asleep(|_| {}).device.features().contains(FEATURE_SEQPACKET | FEATURE_NO_IMPLIED_STREAM));
}

#[test]
fn a_listener_of_the_other_kind_is_nobody() {
    let mut rig = Rig::with_messages();
    let _listener = rig.listen(52);
    rig.send(1, 52, Operation::REQUEST);
    rig.expect(Operation::RST);
}
