//! Much data, both ways at once.

use std::io::{Read, Write};

use zerocopy::IntoBytes;

use super::super::spec::*;
use super::fixture::*;

const TOTAL: usize = 8 << 20;

#[test]
fn megabytes_both_ways_arrive_whole_and_in_order() {
    let mut rig = Rig::new();
    let mut host = rig.guest_connects(1, 52);
    let data = noise(TOTAL);
    let (to_guest, to_host) = (data.clone(), data.clone());
    let mut writer = host.try_clone().unwrap();
    let talks = std::thread::spawn(move || {
        writer.write_all(&to_guest).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let listens = std::thread::spawn(move || {
        let mut all = Vec::new();
        host.read_to_end(&mut all).unwrap();
        assert!(all == to_host, "what the host got is not what was sent");
    });
    let mut received = Vec::new();
    let (mut sent, mut forwarded, mut ended) = (0usize, 0usize, false);
    let mut fwd_cnt = 0u32;
    while !ended || forwarded < TOTAL {
        // As much as there is credit for, in packets of a Linux guest's size and cut as it cuts them.
        while sent < TOTAL && sent - forwarded < OUR_BUFFER as usize {
            let len = (OUR_BUFFER as usize - (sent - forwarded)).min(TOTAL - sent).min(60_000);
            let piece = &data[sent..sent + len];
            let header = Header { fwd_cnt: fwd_cnt.into(), ..rig.data_header(1, 52, piece) };
            let (front, back) = piece.split_at(len / 3);
            rig.send_pieces(&[header.as_bytes(), front, back]);
            sent += len;
        }
        if ended && sent == TOTAL {
            // There is credit to spare: the device tells of the last bytes only if it is asked.
            rig.send(1, 52, Operation::CREDIT_REQUEST);
        }
        let packet = rig.recv();
        forwarded += packet.fwd_cnt().wrapping_sub(forwarded as u32) as usize;
        match packet.op() {
            Operation::RW => {
                received.extend(packet.data);
                // Like Linux: an update only when there is little room left.
                if (received.len() as u32).wrapping_sub(fwd_cnt) > GUEST_BUFFER / 2 {
                    fwd_cnt = received.len() as u32;
                    rig.credit(1, 52, GUEST_BUFFER, fwd_cnt);
                }
            }
            Operation::CREDIT_REQUEST => {
                fwd_cnt = received.len() as u32;
                rig.credit(1, 52, GUEST_BUFFER, fwd_cnt);
            }
            Operation::CREDIT_UPDATE => {}
            Operation::SHUTDOWN => {
                assert_eq!(packet.header.flags.get(), Shutdown::SEND.bits());
                ended = true;
            }
            _ => panic!("{packet:?}"),
        }
    }
    assert!(received == data, "what the guest got is not what was sent");
    assert_eq!(rig.counters().credit_violations.get(), 0);
    rig.shutdown(1, 52, Shutdown::all());
    talks.join().unwrap();
    listens.join().unwrap();
}
