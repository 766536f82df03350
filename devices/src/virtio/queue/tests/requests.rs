//! Requests of a driver that keeps the rules.

use super::*;
use crate::virtio::queue::testing::{Buffer, Completion};

#[test]
fn a_request_comes_out_as_it_went_in_and_its_completion_goes_back() {
    let (mut driver, mut queue) = pair(8);
    let (r, w) = (driver.readable(b"header"), driver.writable(32));
    let head = driver.add(&[r, w]);
    assert_eq!(queue.pop().unwrap(), None, "not published yet");
    driver.publish();
    let chain = queue.pop().unwrap().unwrap();
    let (Buffer::Readable(r_at, _), Buffer::Writable(w_at, _)) = (r, w) else { unreachable!() };
    assert_eq!(chain.head(), head);
    assert_eq!(chain.readable(), [(r_at, 6)]);
    assert_eq!(chain.writable(), [(w_at, 32)]);
    assert_eq!((chain.readable_len(), chain.writable_len()), (6, 32));
    assert_eq!(queue.outstanding(), 1);
    assert_eq!(driver.completed(), Ok(None));
    queue.push_used(head, 7).unwrap();
    assert_eq!(driver.completed(), Ok(Some(Completion { head, len: 7 })));
    assert_eq!(queue.outstanding(), 0);
}

#[test]
fn an_indirect_request_is_the_same_as_a_direct_one() {
    let (mut driver, mut queue) = pair(8);
    let buffers = [driver.readable(b"a"), driver.readable(b"bc"), driver.writable(4), driver.writable(5)];
    driver.add(&buffers);
    driver.add_indirect(&buffers);
    driver.publish();
    let direct = queue.pop().unwrap().unwrap();
    let indirect = queue.pop().unwrap().unwrap();
    assert_ne!(direct.head(), indirect.head());
    assert_eq!(direct.readable(), indirect.readable());
    assert_eq!(direct.writable(), indirect.writable());
}

#[test]
fn a_direct_part_may_end_in_an_indirect_table() {
    // virtio 1.3 §2.7.5.3.2: the device must handle it; WRITE on the indirect descriptor means nothing.
    let (mut driver, mut queue) = pair(8);
    let Buffer::Readable(a, _) = driver.readable(b"a") else { unreachable!() };
    let table = driver.alloc(16);
    driver.set_descriptor(0, a, 1, 1, 1);
    driver.set_descriptor(1, table, 16, 4 | 2, 0);
    let mem = driver.memory().clone();
    mem.write_obj(table, &[a, 1u64 | (2 << 32)]).unwrap();
    driver.add_raw(0);
    driver.publish();
    let chain = queue.pop().unwrap().unwrap();
    assert_eq!((chain.readable(), chain.writable()), (&[(a, 1)][..], &[(a, 1)][..]));
}

#[test]
fn completions_may_come_in_any_order_and_indices_wrap() {
    let (mut driver, mut queue) = pair(4);
    for round in 0..40_000u32 {
        let a = driver.add(&[Buffer::Writable(0x8000, 8)]);
        let b = driver.add(&[Buffer::Writable(0x9000, 8), Buffer::Writable(0xa000, 8)]);
        driver.publish();
        let (first, second) = (queue.pop().unwrap().unwrap(), queue.pop().unwrap().unwrap());
        assert_eq!((first.head(), second.head()), (a, b), "round {round}");
        queue.push_used(b, 16).unwrap();
        queue.push_used(a, 8).unwrap();
        assert_eq!(driver.completed(), Ok(Some(Completion { head: b, len: 16 })));
        assert_eq!(driver.completed(), Ok(Some(Completion { head: a, len: 8 })));
    }
    assert_eq!(queue.counters().stats().completions, 80_000);
}

#[test]
fn a_full_queue_of_the_largest_size_works() {
    let mem = SharedMemory::for_test(4 << 20);
    let mut driver = Driver::new(&mem, 0, 4 << 20, 32768);
    let mut queue = Queue::new(driver.config(), &mem).unwrap();
    for _ in 0..3 {
        let heads: Vec<u16> = (0..32768).map(|_| driver.add(&[Buffer::Writable(0x1000, 1)])).collect();
        driver.publish();
        for head in &heads {
            assert_eq!(queue.pop().unwrap().unwrap().head(), *head);
        }
        assert_eq!(queue.pop().unwrap(), None);
        for head in heads {
            queue.push_used(head, 0).unwrap();
            driver.completed().unwrap().unwrap();
        }
    }
}

#[test]
fn a_peeked_request_stays_until_it_is_popped_and_is_read_once() {
    let (mut driver, mut queue) = pair(8);
    assert_eq!(queue.peek().unwrap(), None);
    let w = driver.writable(16);
    let head = driver.add(&[w]);
    driver.publish();
    let peeked = queue.peek().unwrap().unwrap().clone();
    // The guest changes its mind: the copy that was checked is the one that is used.
    driver.set_descriptor(head, u64::MAX, u32::MAX, 0, 0);
    assert_eq!(queue.peek().unwrap(), Some(&peeked));
    assert!(queue.enable_notifications().unwrap(), "a peeked request is still there");
    assert_eq!(queue.pop().unwrap(), Some(peeked));
    assert_eq!(queue.pop().unwrap(), None);
    assert_eq!(queue.counters().stats().requests, 1);
}

#[test]
fn the_configuration_is_checked_before_use() {
    let mem = memory();
    let good = Driver::new(&mem, 0, END, 8).config();
    let size = |size| Queue::new(super::super::QueueConfig { size, ..good }, &mem).map(drop);
    for bad in [0, 3, 6, 0x8001, 0xffff] {
        assert!(matches!(size(bad), Err(QueueError::BadSize { .. })), "{bad}");
    }
    let at = |desc, driver, device| {
        Queue::new(super::super::QueueConfig { desc, driver, device, ..good }, &mem).map(drop)
    };
    assert_eq!(at(0x1000, 0x2000, 0x3000), Ok(()));
    for (d, a, u) in [(8, 0x2000, 0x3000), (0x1000, 0x2001, 0x3000), (0x1000, 0x2000, 0x3002)] {
        assert!(matches!(at(d, a, u), Err(QueueError::Misaligned { .. })));
    }
    for out in [END, END - 16, !15u64] {
        assert!(at(out, 0x2000, 0x3000).is_err_and(|e| unreachable(&e)));
        assert!(at(0x1000, out, 0x3000).is_err_and(|e| unreachable(&e)));
        assert!(at(0x1000, 0x2000, out).is_err_and(|e| unreachable(&e)));
    }
    make_private(&mem, 0x2000);
    assert!(at(0x1000, 0x2000, 0x3000).is_err_and(|e| unreachable(&e)));
}
