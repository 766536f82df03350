//! The device's half of a queue against the driver's half, well-behaved and hostile.

mod fixture;
mod hostile;
mod notify;
mod requests;
mod transfer;

use cloister_coco::memory::{Converter, SharedMemory, Target};

use super::testing::Driver;
use super::{Queue, QueueError};

const END: u64 = 1 << 20;

fn memory() -> SharedMemory {
    SharedMemory::for_test(END)
}

/// A driver and a device on one queue of `size` in memory of their own.
fn pair(size: u16) -> (Driver, Queue) {
    let driver = Driver::new(&memory(), 0, END, size);
    let queue = Queue::new(driver.config(), driver.memory()).unwrap();
    (driver, queue)
}

/// The page at `gpa` turns private.
fn make_private(mem: &SharedMemory, gpa: u64) {
    Converter::plain(mem.clone()).convert(gpa & !0xfff, 1, Target::Private).unwrap();
}

fn malformed(queue: &Queue) -> u64 {
    queue.counters().stats().malformed
}

fn unreachable(e: &QueueError) -> bool {
    matches!(e, QueueError::Unreachable { .. })
}
