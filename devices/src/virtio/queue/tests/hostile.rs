//! A driver that keeps no rule.

use proptest::prelude::*;

use super::*;
use crate::virtio::queue::testing::{Buffer, Completion};
use crate::virtio::queue::{MAX_SEGMENTS, QueueConfig};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// Publishes one request made of `table` (addr, len, flags, next) and expects it to be given back with
/// length 0, counted, and the queue to go on.
fn refused_from(mut driver: Driver, table: &[(u64, u32, u16, u16)]) {
    let mut queue = Queue::new(driver.config(), driver.memory()).unwrap();
    for (i, &(addr, len, flags, next)) in table.iter().enumerate() {
        driver.set_descriptor(i as u16, addr, len, flags, next);
    }
    driver.add_head(0, u32::MAX);
    driver.publish();
    assert_eq!(queue.pop().unwrap(), None, "{table:x?}");
    assert_eq!(malformed(&queue), 1, "{table:x?}");
    assert_eq!(driver.completed(), Ok(Some(Completion { head: 0, len: 0 })));
    assert!(queue.needs_interrupt().unwrap(), "the driver must hear of it");
    // The queue goes on.
    driver.set_descriptor(7, 0x8000, 8, WRITE, 0);
    driver.add_head(7, 8);
    driver.publish();
    assert_eq!(queue.pop().unwrap().unwrap().head(), 7);
}

fn refused(table: &[(u64, u32, u16, u16)]) {
    refused_from(Driver::new(&memory(), 0, END, 8), table);
}

/// The same for an indirect table with these entries and this length.
fn refused_indirect(len: u32, entries: &[(u64, u32, u16, u16)]) {
    let driver = Driver::new(&memory(), 0, END, 8);
    for (i, &(addr, len, flags, next)) in entries.iter().enumerate() {
        let at = 0x4000 + 16 * i as u64;
        let meta = u64::from(len) | u64::from(flags) << 32 | u64::from(next) << 48;
        driver.memory().write_obj(at, &[addr, meta]).unwrap();
    }
    refused_from(driver, &[(0x4000, len, INDIRECT, 0)]);
}

/// A driver resets the device as often as it likes, and there is a new queue each time.
#[test]
fn what_is_said_of_malformed_requests_is_limited_over_resets() {
    let mut driver = Driver::new(&memory(), 0, END, 8);
    let first = Queue::new(driver.config(), driver.memory()).unwrap();
    driver.set_descriptor(0, END, 1, 0, 0);
    driver.add_head(0, 0);
    driver.publish();
    for times in 1..=3 {
        let counters = std::sync::Arc::clone(first.counters());
        let mut queue = Queue::with_counters(driver.config(), driver.memory(), counters).unwrap();
        assert_eq!(queue.pop().unwrap(), None);
        assert_eq!(first.counters().log.asked(), times);
    }
}

#[test]
fn malformed_requests_are_given_back_and_the_queue_goes_on() {
    refused(&[(0x8000, 8, NEXT, 8)]);
    refused(&[(0x8000, 8, NEXT, 0xffff)]);
    refused(&[(0x8000, 8, NEXT, 0)]);
    refused(&[(0x8000, 8, NEXT, 1), (0x8000, 8, NEXT, 0)]);
    refused(&[(0x8000, 0, 0, 0)]);
    refused(&[(0x8000, 8, WRITE | NEXT, 1), (0x8000, 8, 0, 0)]);
    refused(&[(END, 1, 0, 0)]);
    refused(&[(END - 1, 2, WRITE, 0)]);
    refused(&[(u64::MAX, 2, WRITE, 0)]);
    refused(&[(0, u32::MAX, 0, 0)]);
    refused(&[(0x8000, 16, INDIRECT | NEXT, 1), (0x8000, 8, 0, 0)]);
}

#[test]
fn malformed_indirect_tables_are_given_back() {
    let good = (0x8000, 8, 0, 0);
    refused_indirect(0, &[good]);
    refused_indirect(15, &[good]);
    refused_indirect(17, &[good]);
    refused_indirect(u32::MAX, &[good]);
    refused_indirect(!15u32, &[good]);
    refused_indirect(16, &[(0x8000, 16, INDIRECT, 0)]);
    refused_indirect(16, &[(0x8000, 8, NEXT, 1), good]);
    refused_indirect(32, &[(0x8000, 8, NEXT, 1), (0x8000, 8, NEXT, 0)]);
    refused_indirect(32, &[(0x8000, 8, NEXT | WRITE, 1), good]);
    let long = vec![(0x8000u64, 8u32, NEXT, 0u16); MAX_SEGMENTS + 1];
    let long: Vec<_> = long.into_iter().enumerate().map(|(i, d)| (d.0, d.1, d.2, i as u16 + 1)).collect();
    refused_indirect(16 * long.len() as u32, &long);
}

#[test]
fn indirect_is_refused_where_it_was_not_negotiated() {
    let driver = Driver::new(&memory(), 0, END, 8);
    let config = QueueConfig { indirect: false, ..driver.config() };
    let mut queue = Queue::new(config, driver.memory()).unwrap();
    let mut driver = driver;
    let w = driver.writable(8);
    driver.add_indirect(&[w]);
    driver.publish();
    assert_eq!(queue.pop().unwrap(), None);
    assert_eq!(malformed(&queue), 1);
}

#[test]
fn more_than_four_gibibytes_in_all_are_refused() {
    // Not by the size of RAM: each buffer alone would be accepted.
    let mem = SharedMemory::for_test(256 << 20);
    let mut driver = Driver::new(&mem, 0, 1 << 20, 32);
    let mut queue = Queue::new(driver.config(), &mem).unwrap();
    let big = Buffer::Readable(0, 255 << 20);
    let head = driver.add_indirect(&[big; 17]);
    driver.publish();
    assert_eq!(queue.pop().unwrap(), None);
    assert_eq!(driver.completed(), Ok(Some(Completion { head, len: 0 })));
    driver.add_indirect(&[big; 16]);
    driver.publish();
    assert_eq!(queue.pop().unwrap().unwrap().readable_len(), 16 * (255 << 20));
}

#[test]
fn private_buffers_and_tables_are_errors_of_the_request() {
    let (mut driver, mut queue) = pair(8);
    make_private(driver.memory(), 0x9000);
    let direct = driver.add(&[Buffer::Readable(0x8ff8, 16)]);
    driver.set_descriptor(6, 0x9000, 16, INDIRECT, 0);
    driver.add_head(6, 0);
    driver.publish();
    assert_eq!(queue.pop().unwrap(), None);
    assert_eq!(driver.completed(), Ok(Some(Completion { head: direct, len: 0 })));
    assert_eq!(driver.completed(), Ok(Some(Completion { head: 6, len: 0 })));
    assert_eq!(malformed(&queue), 2);
}

#[test]
fn a_ring_that_turns_private_is_an_error_of_the_queue() {
    for area in 0..3 {
        let mem = memory();
        let base = Driver::new(&mem, 0, END, 8);
        let config = QueueConfig { desc: 0x1000, driver: 0x2000, device: 0x3000, ..base.config() };
        let mut queue = Queue::new(config, &mem).unwrap();
        mem.write_obj(0x1000, &[0x8000u64, 8 | 2 << 32]).unwrap();
        mem.store_u16(0x2002, 1).unwrap();
        make_private(&mem, 0x1000 * (area + 1));
        let served = queue.pop().and_then(|c| queue.push_used(c.map_or(0, |c| c.head()), 0));
        assert!(served.is_err_and(|e| unreachable(&e)), "area {area}");
    }
}

#[test]
fn an_index_that_jumps_is_an_error_of_the_queue() {
    for index in [9, 0x8000, 0xffff] {
        let (mut driver, mut queue) = pair(8);
        driver.publish_index(index);
        let ahead = Err(QueueError::IndexJump { ahead: index, size: 8 });
        assert_eq!(queue.pop(), ahead);
        assert_eq!(queue.enable_notifications().map(|_| None), ahead);
    }
}

#[test]
fn a_driver_cannot_have_more_outstanding_than_the_queue_is_long() {
    let (mut driver, mut queue) = pair(8);
    driver.set_descriptor(0, 0x8000, 8, 0, 0);
    (0..8).for_each(|_| driver.add_raw(0));
    driver.publish();
    (0..8).for_each(|_| assert!(queue.pop().unwrap().is_some()));
    driver.add_raw(0);
    driver.publish();
    assert!(matches!(queue.pop(), Err(QueueError::IndexJump { ahead: 9, size: 8 })));
    // Nor may it take back what was taken.
    let (mut driver, mut queue) = pair(8);
    driver.add(&[Buffer::Writable(0x8000, 8)]);
    driver.publish();
    queue.pop().unwrap().unwrap();
    driver.publish_index(0);
    assert!(matches!(queue.pop(), Err(QueueError::IndexJump { ahead: 0, size: 8 })));
}

#[test]
fn a_head_outside_the_table_is_an_error_of_the_queue() {
    let (mut driver, mut queue) = pair(8);
    driver.add_raw(8);
    driver.publish();
    assert_eq!(queue.pop(), Err(QueueError::HeadOutOfRange { head: 8, size: 8 }));
}

#[test]
fn endless_malformed_requests_do_not_keep_the_worker() {
    let (mut driver, mut queue) = pair(256);
    driver.set_descriptor(0, u64::MAX, 8, 0, 0);
    (0..256).for_each(|_| driver.add_raw(0));
    driver.publish();
    for given_back in [64, 128, 192, 256] {
        assert!(queue.enable_notifications().unwrap(), "the rest is not forgotten");
        assert_eq!(queue.pop().unwrap(), None);
        assert_eq!(malformed(&queue), given_back);
    }
    assert!(!queue.enable_notifications().unwrap());
}

#[test]
fn completing_what_nobody_asked_for_is_refused() {
    let (_driver, mut queue) = pair(8);
    assert_eq!(queue.push_used(0, 0), Err(QueueError::NothingOutstanding { head: 0 }));
}

/// What a device would do with a queue, to the end or until the queue is broken.
fn serve(queue: &mut Queue, mem: &SharedMemory) -> Result<usize, QueueError> {
    let mut served = 0;
    for _ in 0..64 {
        queue.peek()?;
        let Some(chain) = queue.pop()? else { break };
        assert!(chain.readable().len() + chain.writable().len() <= MAX_SEGMENTS);
        for &(gpa, len) in chain.readable().iter().chain(chain.writable()) {
            assert!(len > 0 && gpa + u64::from(len) <= mem_end(mem));
        }
        let mut reader = chain.reader(mem);
        let mut buf = vec![0; reader.remaining().min(4096)];
        let _ = reader.read_exact(&mut buf);
        let mut writer = chain.writer(mem);
        let room = writer.remaining().min(64);
        let _ = writer.write_all(&vec![0xaa; room]);
        queue.push_used(chain.head(), writer.written() as u32)?;
        queue.needs_interrupt()?;
        served += 1;
    }
    queue.disable_notifications()?;
    queue.enable_notifications()?;
    Ok(served)
}

fn mem_end(_: &SharedMemory) -> u64 {
    END
}

/// Descriptors that are wrong in some places rather than in all, so that walks go deep.
fn descriptor() -> impl Strategy<Value = (u64, u32, u16, u16)> {
    let addr = prop_oneof![4 => 0u64..END, 1 => any::<u64>()];
    let len = prop_oneof![4 => 0u32..0x2000, 1 => any::<u32>()];
    let next = prop_oneof![4 => 0u16..16, 1 => any::<u16>()];
    (addr, len, 0u16..8, next)
}

proptest! {
    #[test]
    fn random_descriptors_never_panic(
        table in prop::collection::vec(descriptor(), 16),
        heads in prop::collection::vec(0u16..17, 0..16),
        event_idx in any::<bool>(),
    ) {
        let driver = Driver::new(&memory(), 0, END, 16);
        let mut driver = if event_idx { driver.with_event_idx() } else { driver };
        let mut queue = Queue::new(driver.config(), driver.memory()).unwrap();
        for (i, &(a, l, f, n)) in table.iter().enumerate() {
            driver.set_descriptor(i as u16, a, l, f, n);
        }
        // Buffers as well are tables: writing answers changes descriptors under way.
        heads.iter().for_each(|&h| driver.add_raw(h));
        driver.publish();
        let mem = driver.memory().clone();
        let _ = serve(&mut queue, &mem);
        prop_assert!(queue.outstanding() <= 16);
    }

    #[test]
    fn random_bytes_in_ring_memory_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0x400),
        index in 0u16..20,
        event_idx in any::<bool>(),
    ) {
        let mem = memory();
        let driver = Driver::new(&mem, 0, END, 16);
        let config = QueueConfig { event_idx, ..driver.config() };
        let mut queue = Queue::new(config, &mem).unwrap();
        mem.write(0, &bytes).unwrap();
        mem.store_u16(config.driver + 2, index).unwrap();
        let _ = serve(&mut queue, &mem);
        prop_assert!(queue.outstanding() <= 16);
    }
}
