//! A guest that breaks every rule it can reach.

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use cloister_coco::memory::{Converter, PAGE_SIZE, Target};
use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::super::spec::*;
use super::fixture::*;
use crate::virtio::VirtioDevice;
use crate::virtio::queue::testing::Buffer;
use crate::virtio::testing::TIMEOUT;

#[test]
fn packets_that_are_none() {
    let mut rig = Rig::new();
    let mut host = rig.guest_connects(1, 52);
    let header = rig.data_header(1, 52, b"x");
    rig.send_pieces(&[&header.as_bytes()[..43]]);
    rig.send_pieces(&[&header.as_bytes()[..1]]);
    // A chain that the device could only write to.
    let buffer = rig.h.drivers[TX].writable(100);
    rig.h.drivers[TX].add(&[buffer]);
    rig.h.kick(TX);
    assert_eq!(rig.h.completion(TX, TIMEOUT).unwrap().len, 0);
    assert_eq!(rig.counters().tx_bad_chains.get(), 3);
    // And a buffer for packets to the guest that the device could only read.
    let buffer = rig.h.drivers[RX].readable(&[0; 100]);
    rig.device.reset();
    rig.reactivate();
    rig.h.drivers[RX].add(&[buffer]);
    rig.h.kick(RX);
    rig.post(10, 4096);
    rig.send(1, 52, Operation::RW);
    assert_eq!(rig.h.completion(RX, TIMEOUT).unwrap().len, 0);
    rig.expect(Operation::RST);
    let _ = host.write_all(b"gone");
}

#[test]
fn wrong_addresses_types_and_operations() {
    let mut rig = Rig::new();
    let mut host = rig.guest_connects(1, 52);
    let good = rig.data_header(1, 52, b"");
    rig.send_header(Header { src_cid: (rig.cid + 1).into(), ..good });
    rig.send_header(Header { src_cid: 2.into(), ..good });
    rig.send_header(Header { dst_cid: 1.into(), ..good });
    rig.send_header(Header { dst_cid: u64::MAX.into(), op: Operation::REQUEST, ..good });
    for op in [0, 8, 9, 255, u16::MAX] {
        rig.send_header(Header { op: Operation(op.into()), ..good });
    }
    rig.expect_silence();
    for socket_type in [0, 2, 3, u16::MAX] {
        rig.send_header(Header { socket_type: SocketType(socket_type.into()), ..good });
        assert_eq!(rig.expect(Operation::RST).header.socket_type.0.get(), socket_type);
    }
    let c = rig.counters();
    assert_eq!((c.wrong_source.get(), c.wrong_destination.get()), (2, 2));
    assert_eq!((c.unknown_operation.get(), c.unknown_type.get()), (5, 4));
    // The connection has not suffered.
    rig.send_data(1, 52, b"fine");
    assert_eq!(read_exactly(&mut host, 4), b"fine");
}

#[test]
fn without_buffers_the_worker_sleeps_and_takes_packets() {
    let mut rig = Rig::starved(|_| {});
    rig.post(2, 4096);
    let mut one = rig.guest_connects(1, 52);
    let mut two = rig.guest_connects(2, 53);
    // Data, RSTs and credit are owed now, and there is no buffer for any of it.
    one.write_all(&noise(100_000)).unwrap();
    rig.send(9, 9, Operation::RW);
    rig.send(1, 52, Operation::CREDIT_REQUEST);
    rig.wait("starvation", |c| c.rx_starved.get() > 0);
    let (cpu, began) = (rig.worker_cpu(), Instant::now());
    // A measurement needs time to pass; nothing waits for it.
    while began.elapsed() < Duration::from_millis(300) {
        std::thread::park_timeout(Duration::from_millis(300));
    }
    let used = rig.worker_cpu() - cpu;
    assert!(used < Duration::from_millis(15), "{used:?} of CPU for nothing");
    rig.send_data(2, 53, b"still taken");
    assert_eq!(read_exactly(&mut two, 11), b"still taken");
    rig.post(50, 4096);
    rig.expect(Operation::RST);
    rig.expect(Operation::CREDIT_UPDATE);
    let mut all = Vec::new();
    while all.len() < 100_000 {
        all.extend(rig.expect(Operation::RW).data);
    }
    assert_eq!(all, noise(100_000));
}

#[test]
fn pages_that_are_private_end_the_request_and_no_more() {
    let mut rig = Rig::new();
    let mut other = rig.guest_connects(2, 53);
    let host = rig.guest_connects(1, 52);
    let converter = Converter::plain(rig.h.mem.clone());
    // The last pages of memory, which no queue uses.
    let private = (6 << 20) + PAGE_SIZE;
    let header = rig.data_header(1, 52, &[0; 100]);
    rig.h.mem.write(private - 44, header.as_bytes()).unwrap();
    converter.convert(private, 1, Target::Private).unwrap();
    // The data is private, the header is not: the queue gives the whole request back.
    rig.h.drivers[TX].add(&[Buffer::Readable(private - 44, 144)]);
    rig.h.kick(TX);
    assert_eq!(rig.h.completion(TX, TIMEOUT).unwrap().len, 0);
    // The same for a buffer to write to.
    rig.device.reset();
    rig.reactivate();
    drop(host);
    rig.h.drivers[RX].add(&[Buffer::Writable(private - 44, 144)]);
    rig.h.kick(RX);
    rig.post(10, 4096);
    rig.send(7, 7, Operation::RW);
    assert_eq!(rig.h.completion(RX, TIMEOUT).unwrap().len, 0);
    rig.expect(Operation::RST);
    assert_eq!(std::io::Read::read(&mut other, &mut [0]).unwrap(), 0);
}

#[test]
fn a_page_that_turns_private_under_a_buffer_costs_that_buffer() {
    let mut rig = Rig::starved(|_| {});
    rig.post(1, 4096);
    let mut host = rig.guest_connects(1, 52);
    let converter = Converter::plain(rig.h.mem.clone());
    let private = (6 << 20) + PAGE_SIZE;
    // Looked at while it was shared: data is owed, but the only buffer has no room for it.
    rig.h.drivers[RX].add(&[Buffer::Writable(private, 4096)]);
    converter.convert(private, 1, Target::Private).unwrap();
    host.write_all(b"kept").unwrap();
    rig.h.kick(RX);
    assert_eq!(rig.h.completion(RX, TIMEOUT).unwrap().len, 0);
    rig.post(1, 4096);
    assert_eq!(rig.expect(Operation::RW).data, b"kept", "bytes of the stream are lost");
}

#[test]
fn no_byte_is_read_for_a_header_that_cannot_be_written() {
    let mut rig = Rig::starved(|_| {});
    let converter = Converter::plain(rig.h.mem.clone());
    let private = (6 << 20) + PAGE_SIZE;
    rig.post(1, 4096);
    // The header would lie on one page and the data on the next.
    rig.h.drivers[RX].add(&[Buffer::Writable(private + PAGE_SIZE - 44, 144)]);
    rig.h.kick(RX);
    let mut host = rig.guest_connects(1, 52);
    // The worker has looked at the buffer, for want of data it left it where it is.
    rig.device.inspect(|_| ());
    converter.convert(private, 1, Target::Private).unwrap();
    host.write_all(b"kept").unwrap();
    assert_eq!(rig.h.completion(RX, TIMEOUT).unwrap().len, 0);
    assert_eq!(rig.counters().rx_bad_chains.get(), 1);
    rig.post(1, 4096);
    assert_eq!(rig.expect(Operation::RW).data, b"kept", "bytes of the stream are lost");
}

#[test]
fn a_broken_queue_needs_a_reset_and_a_reset_mends_it() {
    for broken in [RX, TX] {
        let mut rig = Rig::starved(|_| {});
        rig.post(2, 4096);
        let host = rig.guest_connects(1, 52);
        rig.h.drivers[broken].publish_index(60_000);
        rig.h.kicks[broken].ring();
        // So that the device has a reason to look at the queue of buffers; it may have one in hand.
        if broken == RX {
            for guest in [5, 6] {
                let stray = rig.header(guest, 5, Operation::RW);
                let packet = rig.h.drivers[TX].readable(stray.as_bytes());
                rig.h.drivers[TX].add(&[packet]);
            }
            rig.h.kick(TX);
        }
        assert!(rig.h.signals.wait(TIMEOUT, |seen| seen.needs_reset == 1));
        assert_eq!(rest(host), "", "the host's sockets are closed");
        rig.reactivate();
        rig.post(2, 4096);
        let mut host = rig.guest_connects(1, 52);
        rig.send_data(1, 52, b"mended");
        assert_eq!(read_exactly(&mut host, 6), b"mended");
        assert_eq!(rig.h.signals.seen().needs_reset, 1);
    }
}

/// What a hostile guest does next.
#[derive(Debug, Clone)]
enum Move {
    Packet {
        guest: u32,
        host: u32,
        op: u16,
        len: u32,
        real: u16,
        flags: u32,
        alloc: u32,
        fwd: u32,
        kind: u16,
    },
    Post(u32),
    Take,
}

fn moves() -> impl Strategy<Value = Move> {
    let number = prop_oneof![Just(0u32), 0..3000u32, Just(OUR_BUFFER), any::<u32>()];
    let op = prop_oneof![10 => 1u16..8, 5 => Just(5), 5 => Just(1), 1 => any::<u16>()];
    let kind = prop_oneof![30 => Just(1u16), 10 => Just(2), 1 => any::<u16>()];
    let ports = (0u32..6, prop_oneof![4 => 50u32..54, 1 => Just(1 << 30), 1 => any::<u32>()]);
    let packet = (ports, op, number.clone(), 0u16..3000, any::<u32>(), number.clone(), number, kind)
        .prop_map(|((guest, host), op, len, real, flags, alloc, fwd, kind)| {
            // Most lengths are the truth.
            let len = if flags & 7 != 0 { real.into() } else { len };
            Move::Packet { guest, host, op, len, real, flags, alloc, fwd, kind }
        });
    prop_oneof![20 => packet, 2 => (1u32..5000).prop_map(Move::Post), 2 => Just(Move::Take)]
}

fn play(moves: &[Move]) {
    let mut rig = Rig::asleep(|c| {
        c.max_connections = 8;
        c.timeouts.close = Duration::from_millis(5);
        c.timeouts.response = Duration::from_millis(5);
    });
    rig.h.features |= FEATURE_SEQPACKET;
    rig.activate();
    // Hosts that talk and read or not, one that hangs up, and nobody.
    let listeners = [rig.listen(50), UnixListener::from(rig.message_listener(51)), rig.listen(52)];
    for listener in &listeners {
        listener.set_nonblocking(true).unwrap();
    }
    let mut held = Vec::new();
    let mut client = rig.client();
    client.write_all(b"CONNECT 3\n").unwrap();
    for (i, m) in moves.iter().enumerate() {
        match m {
            Move::Packet { guest, host, op, len, real, flags, alloc, fwd, kind } => {
                let header = Header {
                    len: (*len).into(),
                    flags: (*flags).into(),
                    buf_alloc: (*alloc).into(),
                    fwd_cnt: (*fwd).into(),
                    socket_type: SocketType((*kind).into()),
                    ..rig.header(*guest, *host, Operation((*op).into()))
                };
                let data = vec![7; (*real).into()];
                let mut pieces = vec![header.as_bytes()];
                pieces.extend(data.chunks(1000));
                rig.send_pieces(&pieces);
            }
            Move::Post(len) if rig.h.drivers[RX].outstanding() < 32 => rig.post(1, *len),
            Move::Post(_) => {}
            Move::Take => while rig.take_anything() {},
        }
        if i % 16 == 0 {
            for (which, listener) in listeners.iter().enumerate() {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nonblocking(true).unwrap();
                    let _ = stream.write_all(&[1; 5000]);
                    if which < 2 {
                        held.push(stream);
                    }
                }
            }
            for (j, stream) in held.iter_mut().enumerate() {
                if j % 2 == 0 {
                    let _ = std::io::Read::read(stream, &mut [0; 8192]);
                }
            }
            held.truncate(20);
        }
    }
    assert_eq!(rig.h.signals.seen().needs_reset, 0, "packets cannot break a queue");
    // After all that, a guest that behaves is served: by the same device, and after a reset.
    while rig.take_anything() {}
    rig.reactivate();
    rig.post(20, 4096);
    drop(client);
    std::fs::remove_file(format!("{}_50", rig.path.display())).unwrap();
    let listener = rig.listen(50);
    loop {
        rig.send(77, 50, Operation::REQUEST);
        // The client from before may still be waiting, or be reset.
        let packet = rig.recv();
        if packet.guest_port() == 77 {
            assert_eq!(packet.op(), Operation::RESPONSE);
            break;
        }
    }
    let mut host = accept(&listener);
    rig.send_data(77, 50, b"after all");
    assert_eq!(read_exactly(&mut host, 9), b"after all");
}

impl Rig {
    /// Whatever the device wrote; the fixture looks at the ring's rules, and we at the packet's.
    fn take_anything(&mut self) -> bool {
        let Ok(Some(done)) = self.h.drivers[RX].completed() else { return false };
        assert!(done.len == 0 || done.len >= 44);
        true
    }
}

proptest! {
    // 240 guests with 300 moves each, five of six of them packets: 60,000.
    #![proptest_config(ProptestConfig { cases: 240, failure_persistence: None, max_shrink_iters: 50, ..ProptestConfig::default() })]
    #[test]
    fn random_packets_in_random_order(moves in proptest::collection::vec(moves(), 300)) {
        play(&moves);
    }
}
