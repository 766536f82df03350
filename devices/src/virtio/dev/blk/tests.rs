//! The block device, driven through its ring.

use std::io::Write;

use proptest::prelude::*;

use super::{Blk, Disk, DiskError};
use crate::virtio::queue::testing::Buffer;
use crate::virtio::testing::{Harness, TIMEOUT};
use crate::virtio::{DeviceType, Features, VirtioDevice};

const SECTORS: usize = 3000;
const OK: u8 = 0;
const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

/// Every sector is filled with its number.
fn image() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = (0..SECTORS).flat_map(|s| [(s % 253) as u8; 512]).collect();
    file.write_all(&bytes).unwrap();
    // Half a sector more, which is no part of the disk.
    file.write_all(&[0xee; 256]).unwrap();
    file
}

fn active(features: Features) -> (Harness, Blk) {
    let machine = Harness::new(&[256], features);
    let mut blk = Blk::new(Disk::open_read_only(image().path()).unwrap());
    blk.activate(machine.activation()).unwrap();
    (machine, blk)
}

fn header(kind: u32, sector: u64) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat()
}

/// Sends one request with room for `len` bytes and the status; bytes, status and used length.
fn request(machine: &mut Harness, head: &[u8], len: u32) -> (Vec<u8>, u8, u32) {
    let driver = &mut machine.drivers[0];
    let data = driver.writable(len);
    let status = driver.readable(&[0xff]);
    let Buffer::Readable(at, 1) = status else { panic!("one byte") };
    let (head, status) = (driver.readable(head), Buffer::Writable(at, 1));
    let buffers = if len > 0 { vec![head, data, status] } else { vec![head, status] };
    driver.add(&buffers);
    machine.kick(0);
    let done = machine.completion(0, TIMEOUT).expect("a completion");
    (machine.drivers[0].bytes(data), machine.drivers[0].bytes(status)[0], done.len)
}

#[test]
fn it_says_what_it_is() {
    let blk = Blk::new(Disk::open_read_only(image().path()).unwrap());
    assert_eq!(blk.device_type(), DeviceType::BLOCK);
    assert_eq!(blk.features().bits(), 1 << 2 | 1 << 5 | 1 << 6);
    let mut config = [0xff; 28];
    blk.config_read(0, &mut config);
    assert_eq!(config[..8], (SECTORS as u64).to_le_bytes());
    assert_eq!((config[12], config[20..24].to_vec()), (254, 512u32.to_le_bytes().to_vec()));
    let mut behind = [0; 4];
    blk.config_read(u64::MAX, &mut behind);
    assert_eq!(behind, [0; 4]);
}

#[test]
fn sectors_are_read_where_they_are() {
    for features in [Features::empty(), Features::RING_EVENT_IDX] {
        let (mut machine, blk) = active(features);
        let (bytes, status, used) = request(&mut machine, &header(0, 0), 512);
        assert_eq!((status, used, bytes), (OK, 513, vec![0; 512]));
        // More than is read at once.
        let (bytes, status, used) = request(&mut machine, &header(0, 100), 600 * 512);
        assert_eq!((status, used), (OK, 600 * 512 + 1));
        assert!(bytes.chunks(512).zip(100..).all(|(s, n)| s.iter().all(|b| *b == (n % 253) as u8)));
        let (bytes, status, _) = request(&mut machine, &header(0, SECTORS as u64 - 1), 512);
        assert_eq!((status, bytes), (OK, vec![((SECTORS - 1) % 253) as u8; 512]));
        let stats = blk.counters().stats();
        assert_eq!((stats.requests, stats.bytes, stats.failed), (3, 602 * 512, 0));
    }
}

#[test]
fn data_may_be_cut_anywhere() {
    let (mut machine, _blk) = active(Features::empty());
    let head = header(0, 7);
    let driver = &mut machine.drivers[0];
    // The header in three pieces; the status in one buffer with the last byte of data.
    let mut buffers: Vec<_> = [&head[..1], &head[1..9], &head[9..]].map(|p| driver.readable(p)).to_vec();
    buffers.extend([1, 510, 512, 2].map(|n| driver.writable(n)));
    driver.add_indirect(&buffers);
    machine.kick(0);
    assert_eq!(machine.completion(0, TIMEOUT).unwrap().len, 1025);
    let bytes: Vec<u8> = buffers[3..].iter().flat_map(|b| machine.drivers[0].bytes(*b)).collect();
    assert_eq!(bytes, [vec![7; 512], vec![8; 512], vec![OK]].concat());
}

#[test]
fn what_is_not_there_or_not_offered_fails_with_a_status() {
    let (mut machine, blk) = active(Features::empty());
    let end = SECTORS as u64;
    let (_, status, used) = request(&mut machine, &header(0, end), 512);
    assert_eq!((status, used), (IO_ERROR, 0));
    assert_eq!(request(&mut machine, &header(0, end - 1), 1024).1, IO_ERROR);
    assert_eq!(request(&mut machine, &header(0, u64::MAX), 512).1, IO_ERROR);
    assert_eq!(request(&mut machine, &header(0, u64::MAX / 512 + 1), 512).1, IO_ERROR);
    assert_eq!(request(&mut machine, &header(0, 0), 511).1, IO_ERROR);
    assert_eq!(request(&mut machine, &header(0, 0)[..15], 512).1, IO_ERROR);
    assert_eq!(request(&mut machine, &header(1, 0), 0).1, IO_ERROR, "a write");
    assert_eq!(request(&mut machine, &header(4, 0), 0).1, UNSUPPORTED, "a flush, which was not offered");
    assert_eq!(request(&mut machine, &header(u32::MAX, 0), 0).1, UNSUPPORTED);
    assert_eq!(blk.counters().stats().failed, 9);
    assert_eq!(request(&mut machine, &header(0, 0), 0).1, OK, "nothing, of the first sector");
}

#[test]
fn it_has_an_id_and_gives_as_much_as_there_is_room_for() {
    let (mut machine, _blk) = active(Features::empty());
    let (id, status, used) = request(&mut machine, &header(8, 0), 20);
    assert_eq!((status, used, &id[..9]), (OK, 21, &b"cloister\0"[..]));
    assert_eq!(request(&mut machine, &header(8, 0), 4).0, b"cloi");
}

#[test]
fn a_request_without_room_for_a_status_comes_back_empty() {
    let (mut machine, blk) = active(Features::empty());
    let head = machine.drivers[0].readable(&header(0, 0));
    machine.drivers[0].add(&[head]);
    machine.kick(0);
    assert_eq!(machine.completion(0, TIMEOUT).unwrap().len, 0);
    assert_eq!(blk.counters().stats().failed, 1);
}

#[test]
fn an_image_that_shrank_is_an_error_of_the_request() {
    let image = image();
    let mut machine = Harness::new(&[8], Features::empty());
    let mut blk = Blk::new(Disk::open_read_only(image.path()).unwrap());
    blk.activate(machine.activation()).unwrap();
    image.as_file().set_len(512).unwrap();
    assert_eq!(request(&mut machine, &header(0, 0), 512).1, OK);
    assert_eq!(request(&mut machine, &header(0, 1), 512).1, IO_ERROR);
}

#[test]
fn a_broken_ring_asks_for_a_reset_after_which_the_device_serves_again() {
    let (mut machine, mut blk) = active(Features::empty());
    machine.drivers[0].publish_index(0x4000);
    machine.kicks[0].ring();
    assert!(machine.signals.wait(TIMEOUT, |seen| seen.needs_reset == 1));
    blk.reset();
    machine.renew(0);
    blk.activate(machine.activation()).unwrap();
    assert_eq!(request(&mut machine, &header(0, 5), 512).0, [5; 512]);
}

/// A guest that breaks its ring, resets the device and does it again fills no log.
#[test]
fn what_is_said_of_a_device_is_limited_over_its_resets() {
    let (mut machine, mut blk) = active(Features::empty());
    for time in 1..=3 {
        assert_eq!(request(&mut machine, &header(1, 0), 0).1, IO_ERROR);
        machine.drivers[0].publish_index(0x4000);
        machine.kicks[0].ring();
        assert!(machine.signals.wait(TIMEOUT, |seen| seen.needs_reset == time));
        blk.reset();
        machine.renew(0);
        blk.activate(machine.activation()).unwrap();
    }
    assert_eq!(blk.counters().log.asked(), 6);
}

#[test]
fn many_requests_at_once_are_all_answered() {
    let (mut machine, _blk) = active(Features::RING_EVENT_IDX);
    for sector in 0..80 {
        let driver = &mut machine.drivers[0];
        let buffers = [driver.readable(&header(0, sector)), driver.writable(513)];
        driver.add(&buffers);
    }
    machine.kick(0);
    (0..80).for_each(|i| assert_eq!(machine.completion(0, TIMEOUT).unwrap().len, 513, "request {i}"));
}

#[test]
fn only_files_with_a_sector_are_disks() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Disk::open_read_only(dir.path()), Err(DiskError::Kind { .. })));
    assert!(matches!(Disk::open_read_only("/dev/null".as_ref()), Err(DiskError::Kind { .. })));
    let path = dir.path().join("disk");
    assert!(matches!(Disk::open_read_only(&path), Err(DiskError::Open { .. })));
    std::fs::write(&path, [0; 511]).unwrap();
    assert!(matches!(Disk::open_read_only(&path), Err(DiskError::Small { len: 511, .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a driver asks for gets an answer, and whole sectors get theirs.
    #[test]
    fn any_request_is_answered(head: Vec<u8>, kind in 0u32..12, sector in 0u64..3200, len in 0u32..4096) {
        let (mut machine, _blk) = active(Features::empty());
        if !head.is_empty() {
            let (_, status, _) = request(&mut machine, &head, len);
            prop_assert!(status <= UNSUPPORTED);
        }
        let (bytes, status, used) = request(&mut machine, &header(kind, sector), len);
        let sectors = u64::from(len / 512);
        let there = kind == 0 && len % 512 == 0 && sector + sectors <= SECTORS as u64;
        prop_assert_eq!(status == OK, there || kind == 8);
        prop_assert!(!there || used == len + 1);
        let right = |(s, n): (&[u8], u64)| s.iter().all(|b| *b == (n % 253) as u8);
        prop_assert!(!there || bytes.chunks(512).zip(sector..).all(right));
    }
}
