//! The device, through its ports.

use super::*;
use crate::bus::BusDevice;
use cloister_coco::memory::SharedMemory;
use proptest::prelude::*;

const RAM: u64 = 1 << 20;
/// Where the tests put the DMA structure, and what it transfers.
const STRUCT: u64 = 0x1000;
const BUFFER: u64 = 0x2000;

fn device(mem: &SharedMemory) -> FwCfg {
    let mut items = FwCfgItems::new();
    items.add(Key::CPUS, vec![2, 0]).unwrap();
    items.add(Key::KERNEL_DATA, Content::Blob(Box::new(Pattern(300_000)))).unwrap();
    items.add(Key::INITRD_DATA, Content::Blob(Box::new(Broken))).unwrap();
    items.add_file("etc/z", b"last".to_vec()).unwrap();
    items.add_file("etc/a", b"first".to_vec()).unwrap();
    FwCfg::new(items, mem.clone())
}

/// A blob whose every byte says where it is.
struct Pattern(u32);

fn pattern(at: usize) -> u8 {
    (at % 251) as u8
}

impl Blob for Pattern {
    fn size(&self) -> u32 {
        self.0
    }
    fn read_at(&mut self, offset: u32, buf: &mut [u8]) -> std::io::Result<()> {
        assert!(offset as usize + buf.len() <= self.0 as usize, "asked for bytes behind the end");
        buf.iter_mut().zip(offset as usize..).for_each(|(b, at)| *b = pattern(at));
        Ok(())
    }
}

/// A blob whose file went away.
struct Broken;

impl Blob for Broken {
    fn size(&self) -> u32 {
        100
    }
    fn read_at(&mut self, _offset: u32, _buf: &mut [u8]) -> std::io::Result<()> {
        Err(std::io::Error::other("gone"))
    }
}

fn by_port(device: &mut FwCfg, key: Key, len: usize) -> Vec<u8> {
    device.write(0, &key.0.to_le_bytes());
    let byte = |_| {
        let mut byte = [0xff];
        device.read(1, &mut byte);
        byte[0]
    };
    (0..len).map(byte).collect()
}

/// Asks for a transfer; what the structure's control says afterwards.
fn dma(device: &mut FwCfg, mem: &SharedMemory, control: u32, len: u32, address: u64) -> u32 {
    let mut request = control.to_be_bytes().to_vec();
    request.extend(len.to_be_bytes());
    request.extend(address.to_be_bytes());
    mem.write(STRUCT, &request).unwrap();
    device.write(4, &[0; 4]);
    device.write(8, &(STRUCT as u32).to_be_bytes());
    u32::from_be(mem.read_obj(STRUCT).unwrap())
}

const READ: u32 = 2;
const SKIP: u32 = 4;
const SELECT: u32 = 8;
const WRITE: u32 = 16;

fn select(key: Key) -> u32 {
    u32::from(key.0) << 16 | SELECT
}

#[test]
fn it_is_recognised_and_says_what_it_can() {
    let mem = SharedMemory::for_test(RAM);
    let mut device = device(&mem);
    assert_eq!(by_port(&mut device, Key::SIGNATURE, 5), b"QEMU\0");
    assert_eq!(by_port(&mut device, Key::FEATURES, 4), [3, 0, 0, 0]);
    let (mut high, mut low) = ([0; 4], [0; 4]);
    device.read(4, &mut high);
    device.read(8, &mut low);
    assert_eq!((&high, &low), (b"QEMU", b" CFG"));
    assert_eq!(by_port(&mut device, Key(0x4242), 2), [0, 0], "an item that is not there");
}

#[test]
fn the_directory_names_files_in_order_with_their_sizes() {
    let mem = SharedMemory::for_test(RAM);
    let mut device = device(&mem);
    let directory = by_port(&mut device, Key::DIRECTORY, 4 + 2 * 64 + 1);
    assert_eq!(directory[..4], [0, 0, 0, 2]);
    let entries: Vec<_> = directory[4..132].chunks(64).collect();
    assert_eq!(entries[0][..13], *b"\0\0\0\x05\0\x20\0\0etc/a");
    assert_eq!(entries[1][..13], *b"\0\0\0\x04\0\x21\0\0etc/z");
    assert!(entries[1][13..].iter().chain(&directory[132..]).all(|b| *b == 0));
    assert_eq!(by_port(&mut device, Key(0x20), 6), b"first\0");
    assert_eq!(by_port(&mut device, Key(0x21), 4), b"last");
}

#[test]
fn a_blob_comes_whole_by_dma_with_zeros_behind_it() {
    let mem = SharedMemory::for_test(RAM);
    let mut device = device(&mem);
    mem.write(BUFFER + 300_000, &[0xaa; 20]).unwrap();
    assert_eq!(dma(&mut device, &mem, select(Key::KERNEL_DATA) | READ, 300_010, BUFFER), 0);
    let mut bytes = vec![0; 300_020];
    mem.read(BUFFER, &mut bytes).unwrap();
    assert!(bytes[..300_000].iter().enumerate().all(|(at, b)| *b == pattern(at)));
    assert_eq!(bytes[300_000..], [[0; 10], [0xaa; 10]].concat());
    let stats = device.counters().stats();
    assert_eq!((stats.transfers, stats.refused, stats.bytes), (1, 0, 300_010));
}

#[test]
fn transfers_go_on_where_the_last_one_ended_and_may_skip() {
    let mem = SharedMemory::for_test(RAM);
    let mut device = device(&mem);
    assert_eq!(dma(&mut device, &mem, select(Key::KERNEL_DATA), 0, 0), 0);
    assert_eq!(dma(&mut device, &mem, SKIP, 1000, 0), 0);
    assert_eq!(dma(&mut device, &mem, READ, 1, BUFFER), 0);
    assert_eq!(dma(&mut device, &mem, READ, 1, BUFFER + 1), 0);
    assert_eq!(mem.read_obj::<[u8; 2]>(BUFFER).unwrap(), [pattern(1000), pattern(1001)]);
    let mut byte = [0];
    device.read(1, &mut byte);
    assert_eq!(byte, [pattern(1002)], "ports and DMA share their place");
    assert_eq!(dma(&mut device, &mem, SKIP, u32::MAX, 0), 0);
    assert_eq!(dma(&mut device, &mem, READ, 1, BUFFER), 0);
    assert_eq!(mem.read_obj::<u8>(BUFFER).unwrap(), 0);
}

#[test]
fn what_cannot_be_transferred_is_refused_and_told() {
    let mem = SharedMemory::for_test(RAM);
    let mut device = device(&mem);
    let kernel = select(Key::KERNEL_DATA) | READ;
    assert_eq!(dma(&mut device, &mem, kernel, 2, RAM - 1), 1);
    assert_eq!(dma(&mut device, &mem, kernel, u32::MAX, BUFFER), 1);
    assert_eq!(dma(&mut device, &mem, kernel, 1, u64::MAX), 1);
    assert_eq!(dma(&mut device, &mem, select(Key::CPUS) | WRITE, 2, BUFFER), 1);
    assert_eq!(dma(&mut device, &mem, select(Key::INITRD_DATA) | READ, 2, BUFFER), 1);
    let mut byte = [0xff];
    mem.read(RAM - 1, &mut byte).unwrap();
    assert_eq!(byte, [0], "not even its first byte was written");
    // A structure that is not in memory: nowhere to tell it.
    device.write(4, &u32::MAX.to_be_bytes());
    device.write(8, &u32::MAX.to_be_bytes());
    assert_eq!(device.counters().stats().refused, 6);
    assert_eq!(by_port(&mut device, Key::INITRD_DATA, 1), [0]);
}

#[test]
fn the_address_goes_back_to_zero_after_a_transfer() {
    let mem = SharedMemory::for_test(RAM);
    let mut device = device(&mem);
    device.write(4, &1u32.to_be_bytes());
    device.write(8, &0u32.to_be_bytes());
    assert_eq!(device.counters().stats().refused, 1);
    mem.write(STRUCT, &[0; 16]).unwrap();
    device.write(8, &(STRUCT as u32).to_be_bytes());
    assert_eq!(device.counters().stats().transfers, 1);
}

#[test]
fn items_that_cannot_be_are_refused() {
    let mut items = FwCfgItems::new();
    for key in [Key::SIGNATURE, Key::DIRECTORY, Key::FIRST_FILE, Key(0x8000)] {
        assert_eq!(items.add(key, vec![]), Err(ItemError::Taken { key }));
    }
    items.add_file("a", vec![]).unwrap();
    for name in ["", "a", "a\0b", &"x".repeat(56)] {
        assert!(matches!(items.add_file(name, vec![]), Err(ItemError::Name { .. })), "{name}");
    }
    (1..32).for_each(|i| items.add_file(&format!("{i}"), vec![]).unwrap());
    assert!(matches!(items.add_file("b", vec![]), Err(ItemError::Full { .. })));
}

proptest! {
    /// Whatever a guest does: no panic, and nothing outside the buffers it named is written.
    #[test]
    fn any_access_is_survived(accesses: Vec<(u8, Vec<u8>, bool)>, request: [u8; 16], low in 0u32..0x3000) {
        let mem = SharedMemory::for_test(0x4000);
        let mut device = device(&mem);
        mem.write(u64::from(low), &request).unwrap();
        for (offset, mut data, write) in accesses {
            let offset = u64::from(offset % 16);
            if write { device.write(offset, &data) } else { device.read(offset, &mut data) }
        }
        device.write(4, &[0; 4]);
        device.write(8, &low.to_be_bytes());
    }

    #[test]
    fn transfers_stay_in_their_buffer(key in 0u16..0x30, len in 0u32..0x1800, at in 0x2000u64..0x5000, op: u8) {
        let mem = SharedMemory::for_test(0x4000);
        mem.write(0x2000, &[0xaa; 0x2000]).unwrap();
        let mut device = device(&mem);
        let status = dma(&mut device, &mem, u32::from(key) << 16 | u32::from(op), len, at);
        prop_assert!(status <= 1);
        let mut after = vec![0; 0x2000];
        mem.read(0x2000, &mut after).unwrap();
        let inside = |i: usize| (at..at + u64::from(len)).contains(&(0x2000 + i as u64));
        let outside = after.iter().enumerate().filter(|(i, _)| !inside(*i));
        prop_assert!(outside.into_iter().all(|(_, b)| *b == 0xaa));
    }
}
