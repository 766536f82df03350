//! The fixture is worth what it catches: devices that break the rules, each in its way.

use super::*;
use crate::virtio::queue::testing::{Buffer, Completion, DeviceFault};

const W: Buffer = Buffer::Writable(0x8000, 8);

/// A driver with one request published, and where its used ring is.
fn waiting() -> (Driver, u64) {
    let (mut driver, _) = pair(8);
    driver.add(&[W]);
    driver.publish();
    let used = driver.config().device;
    (driver, used)
}

#[test]
fn a_device_that_never_completes_is_caught() {
    let (mut driver, _) = waiting();
    assert_eq!(driver.completed(), Ok(None));
    assert_eq!(driver.outstanding(), 1);
}

#[test]
fn an_index_without_a_completion_is_not_believed() {
    let (mut driver, used) = waiting();
    driver.memory().store_u16(used + 2, 2).unwrap();
    assert_eq!(driver.completed(), Err(DeviceFault::TooMany));
}

#[test]
fn a_completion_of_something_else_is_caught() {
    let (mut driver, used) = waiting();
    driver.memory().write_obj(used + 4, &5u32).unwrap();
    driver.memory().store_u16(used + 2, 1).unwrap();
    assert_eq!(driver.completed(), Err(DeviceFault::Unknown(5)));
}

#[test]
fn a_completion_twice_is_caught() {
    let (mut driver, used) = waiting();
    let first = driver.add(&[W]);
    driver.publish();
    driver.memory().write_obj(used + 4, &[u32::from(first), 0, u32::from(first), 0]).unwrap();
    driver.memory().store_u16(used + 2, 2).unwrap();
    assert_eq!(driver.completed(), Ok(Some(Completion { head: first, len: 0 })));
    assert_eq!(driver.completed(), Err(DeviceFault::Unknown(u32::from(first))));
}

#[test]
fn a_completion_longer_than_its_buffers_is_caught() {
    let (mut driver, used) = waiting();
    driver.memory().write_obj(used + 8, &9u32).unwrap();
    driver.memory().store_u16(used + 2, 1).unwrap();
    assert_eq!(driver.completed(), Err(DeviceFault::Overlong { head: 0, claimed: 9, writable: 8 }));
}
