//! Bytes both ways: credit, buffers of all shapes, and back pressure.

use std::io::Write;

use zerocopy::IntoBytes;

use super::super::spec::*;
use super::fixture::*;

#[test]
fn a_packet_may_be_cut_anywhere() {
    let mut rig = Rig::new();
    let mut host = rig.guest_connects(1, 52);
    let data = noise(60);
    for cut in 1..HEADER_SIZE + data.len() {
        let bytes = [rig.data_header(1, 52, &data).as_bytes(), &data].concat();
        let (front, back) = bytes.split_at(cut);
        rig.send_pieces(&[front, back]);
        assert_eq!(read_exactly(&mut host, data.len()), data, "cut at {cut}");
    }
    // Every byte a descriptor of its own.
    let bytes = [rig.data_header(1, 52, &data).as_bytes(), &data].concat();
    let pieces: Vec<_> = bytes.chunks(1).collect();
    rig.send_pieces(&pieces);
    assert_eq!(read_exactly(&mut host, data.len()), data);
}

#[test]
fn bytes_behind_the_data_are_no_data() {
    let mut rig = Rig::new();
    let mut host = rig.guest_connects(1, 52);
    let header = rig.data_header(1, 52, b"this");
    rig.send_pieces(&[header.as_bytes(), b"this and not that"]);
    rig.send_data(1, 52, b".");
    assert_eq!(read_exactly(&mut host, 5), b"this.");
}

#[test]
fn a_buffer_may_be_cut_anywhere() {
    let mut rig = Rig::starved(|_| {});
    rig.post(1, 44);
    let mut host = rig.guest_connects(1, 52);
    for cut in 1..100 {
        host.write_all(&noise(56)).unwrap();
        rig.post_cut(&[cut, 100 - cut]);
        assert_eq!(rig.expect(Operation::RW).data, noise(56), "cut at {cut}");
    }
}

#[test]
fn a_buffer_of_a_header_s_size_carries_no_data_and_is_no_end_of_file() {
    let mut rig = Rig::starved(|_| {});
    rig.post(1, 44);
    let mut host = rig.guest_connects(1, 52);
    host.write_all(b"waits").unwrap();
    rig.post(3, 44);
    for _ in 0..3 {
        // They are out of the way, and say nothing that is not so.
        assert_eq!(rig.expect(Operation::CREDIT_UPDATE).header.flags.get(), 0);
    }
    rig.post(1, 45);
    assert_eq!(rig.expect(Operation::RW).data, b"w");
    rig.post(1, 4096);
    assert_eq!(rig.expect(Operation::RW).data, b"aits");
    // Still open.
    rig.send_data(1, 52, b"yes");
    assert_eq!(read_exactly(&mut host, 3), b"yes");
}

#[test]
fn a_buffer_without_room_for_a_header_comes_back_empty() {
    let mut rig = Rig::starved(|_| {});
    rig.post(2, 43);
    rig.post_cut(&[40, 3]);
    rig.send(9, 9, Operation::RW);
    for _ in 0..3 {
        assert_eq!(rig.h.completion(RX, crate::virtio::testing::TIMEOUT).unwrap().len, 0);
    }
    rig.post(1, 44);
    rig.expect(Operation::RST);
    assert_eq!(rig.counters().rx_small_buffers.get(), 3);
}

#[test]
fn a_buffer_is_filled_and_taken_only_for_a_packet() {
    let mut rig = Rig::starved(|_| {});
    rig.post(1, 4096);
    let mut host = rig.guest_connects(1, 52);
    for piece in noise(3000).chunks(30) {
        host.write_all(piece).unwrap();
    }
    rig.post(8, 4096);
    let mut all = Vec::new();
    // The worker may look between two writes of ours, but not between any two.
    while all.len() < 3000 {
        all.extend(rig.expect(Operation::RW).data);
    }
    assert_eq!(all, noise(3000));
    assert!(rig.counters().rx_packets.get() <= 3, "small packets where one would do");
    rig.expect_silence();
}

#[test]
fn the_guest_gets_no_more_than_its_credit() {
    let mut rig = Rig::new();
    let listener = rig.listen(52);
    let small = |rig: &Rig, op| Header { buf_alloc: 10_000.into(), ..rig.header(1, 52, op) };
    let request = small(&rig, Operation::REQUEST);
    rig.send_header(request);
    rig.expect(Operation::RESPONSE);
    let mut host = accept(&listener);
    host.write_all(&noise(30_000)).unwrap();
    let mut all = Vec::new();
    let mut until = |rig: &mut Rig, len: usize| {
        while all.len() < len {
            all.extend(rig.expect_data());
        }
        assert_eq!(all, noise(30_000)[..len]);
    };
    until(&mut rig, 10_000);
    rig.expect(Operation::CREDIT_REQUEST);
    rig.credit(1, 52, 10_000, 0);
    rig.expect_silence_but_credit();
    // Credit in an update.
    rig.credit(1, 52, 10_000, 6_000);
    until(&mut rig, 16_000);
    rig.expect_silence_but_credit();
    // Credit on data.
    let header = Header { fwd_cnt: 16_000.into(), len: 1.into(), ..small(&rig, Operation::RW) };
    rig.send_pieces(&[header.as_bytes(), b"!"]);
    until(&mut rig, 26_000);
    rig.expect_silence_but_credit();
    rig.credit(1, 52, 20_000, 26_000);
    until(&mut rig, 30_000);
    rig.expect_silence_but_credit();
}

#[test]
fn a_guest_without_credit_gets_nothing_until_it_has_some() {
    let mut rig = Rig::new();
    let listener = rig.listen(52);
    let request = Header { buf_alloc: 0.into(), ..rig.header(1, 52, Operation::REQUEST) };
    rig.send_header(request);
    rig.expect(Operation::RESPONSE);
    let mut host = accept(&listener);
    host.write_all(b"x").unwrap();
    rig.expect(Operation::CREDIT_REQUEST);
    // Asked again in a while, without anything else happening: an answer may have been no news.
    rig.expect(Operation::CREDIT_REQUEST);
    rig.credit(1, 52, 10, 0);
    assert_eq!(rig.expect(Operation::RW).data, b"x");
}

#[test]
fn packets_are_counted_as_well_as_bytes() {
    let mut rig = Rig::new();
    let mut host = rig.guest_connects(1, 52);
    let mut packets = 0u32;
    // The guest passes nothing on: it may have as many packets as its buffer has KiB.
    while packets < 256 {
        host.write_all(b"x").unwrap();
        assert_eq!(rig.expect(Operation::RW).data, b"x");
        packets += 1;
    }
    host.write_all(b"yz").unwrap();
    rig.expect(Operation::CREDIT_REQUEST);
    rig.credit(1, 52, GUEST_BUFFER, 1);
    assert_eq!(rig.expect(Operation::RW).data, b"yz");
}

#[test]
fn what_the_host_does_not_take_waits_and_counts_when_it_is_taken() {
    let mut rig = Rig::new();
    let mut host = rig.guest_connects(1, 52);
    let data = noise(OUR_BUFFER as usize);
    for piece in data.chunks(64 << 10) {
        rig.send_data(1, 52, piece);
    }
    rig.send(1, 52, Operation::CREDIT_REQUEST);
    let taken = rig.expect(Operation::CREDIT_UPDATE).fwd_cnt();
    // A write that was cut short counts for what was written of it.
    assert!(taken > 0 && taken < OUR_BUFFER, "{taken}");
    assert_eq!(rig.counters().tx_bounced_bytes.get(), u64::from(OUR_BUFFER - taken));
    assert!(rig.device.inspect(|h| h.held()) <= OUR_BUFFER as usize);
    assert_eq!(read_exactly(&mut host, data.len()), data);
    // The guest knew of little room, so it hears that there is more, up to all of it.
    let mut told = taken;
    while told != OUR_BUFFER {
        let update = rig.expect(Operation::CREDIT_UPDATE);
        assert!(update.fwd_cnt() >= told, "{} after {told}", update.fwd_cnt());
        told = update.fwd_cnt();
        rig.send(1, 52, Operation::CREDIT_REQUEST);
    }
    assert_eq!(rig.device.inspect(|h| h.held()), 0, "memory is held only under back pressure");
}

#[test]
fn credit_bounds_the_bounce_path_too_however_the_chain_is_cut() {
    let mut rig = Rig::new();
    let host = rig.guest_connects(1, 52);
    let mut sent = 0;
    // 1,500 bytes in pieces of 7, until the socket is full and the rest waits.
    while rig.counters().tx_bounced_bytes.get() < 20_000 {
        let data = noise(1500);
        let bytes = [rig.data_header(1, 52, &data).as_bytes(), &data].concat();
        let pieces: Vec<_> = bytes.chunks(7).collect();
        rig.send_pieces(&pieces);
        sent += 1500;
        assert!(sent < 4 * OUR_BUFFER, "the socket never fills");
    }
    rig.send(1, 52, Operation::CREDIT_REQUEST);
    let update = std::iter::repeat_with(|| rig.expect(Operation::CREDIT_UPDATE)).next().unwrap();
    let left = OUR_BUFFER - (sent - update.fwd_cnt());
    // All that is left of the credit, and then a byte more.
    let mut last = left;
    while last > 0 {
        let n = last.min(60_000);
        rig.send_data(1, 52, &noise(n as usize));
        last -= n;
    }
    assert_eq!(rig.counters().credit_violations.get(), 0);
    rig.send_data(1, 52, b"!");
    assert_eq!(rig.counters().credit_violations.get(), 1);
    while rig.recv().op() != Operation::RST {}
    drop(host);
    assert!(rig.device.inspect(|h| h.is_idle()));
}

#[test]
fn more_than_the_credit_in_one_packet_is_not_even_looked_at() {
    let mut rig = Rig::new();
    let host = rig.guest_connects(1, 52);
    let header = Header { len: u32::MAX.into(), ..rig.header(1, 52, Operation::RW) };
    rig.send_pieces(&[header.as_bytes(), b"x"]);
    rig.expect(Operation::RST);
    assert_eq!(rest(host), "");
    assert_eq!(rig.counters().credit_violations.get(), 1);
}

#[test]
fn a_header_that_promises_more_than_there_is() {
    let mut rig = Rig::new();
    let host = rig.guest_connects(1, 52);
    let header = Header { len: 100.into(), ..rig.header(1, 52, Operation::RW) };
    rig.send_pieces(&[header.as_bytes(), b"only this"]);
    rig.expect(Operation::RST);
    assert_eq!(rest(host), "");
}

#[test]
fn counters_go_past_two_to_the_thirty_second() {
    let mut rig = Rig::asleep(|_| {});
    let start = u32::MAX - 100_000;
    rig.device.inspect(|h| h.count_from(start));
    rig.activate();
    rig.post(100, 4096);
    let listener = rig.listen(52);
    let request = Header { fwd_cnt: start.into(), ..rig.header(1, 52, Operation::REQUEST) };
    rig.send_header(request);
    assert_eq!(rig.expect(Operation::RESPONSE).fwd_cnt(), start);
    let mut host = accept(&listener);
    for piece in noise(400_000).chunks(40_000) {
        let header = Header { fwd_cnt: start.into(), ..rig.data_header(1, 52, piece) };
        rig.send_pieces(&[header.as_bytes(), piece]);
        assert_eq!(read_exactly(&mut host, piece.len()), piece);
    }
    let ask = Header { fwd_cnt: start.into(), ..rig.header(1, 52, Operation::CREDIT_REQUEST) };
    rig.send_header(ask);
    while rig.expect(Operation::CREDIT_UPDATE).fwd_cnt() != start.wrapping_add(400_000) {}
    // The other way.
    let mut all = Vec::new();
    let mut wrote = 0;
    while all.len() < 400_000 {
        if wrote == all.len() {
            host.write_all(&noise(400_000)[wrote..wrote + 40_000]).unwrap();
            wrote += 40_000;
        }
        all.extend(rig.expect_data());
        rig.post(1, 4096);
        rig.credit(1, 52, GUEST_BUFFER, start.wrapping_add(all.len() as u32));
    }
    assert_eq!(all, noise(400_000));
}
