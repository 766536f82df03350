//! Who wakes whom.

use super::*;
use crate::virtio::queue::testing::Buffer;

const W: Buffer = Buffer::Writable(0x8000, 8);

fn complete_one(driver: &mut Driver, queue: &mut Queue) {
    let head = driver.add(&[W]);
    driver.publish();
    queue.pop().unwrap().unwrap();
    queue.push_used(head, 0).unwrap();
    driver.completed().unwrap().unwrap();
}

fn event_idx_pair() -> (Driver, Queue) {
    let driver = Driver::new(&memory(), 0, END, 8).with_event_idx();
    let queue = Queue::new(driver.config(), driver.memory()).unwrap();
    (driver, queue)
}

#[test]
fn an_interrupt_only_for_something_and_only_if_wanted() {
    let (mut driver, mut queue) = pair(8);
    assert!(!queue.needs_interrupt().unwrap());
    complete_one(&mut driver, &mut queue);
    assert!(queue.needs_interrupt().unwrap());
    assert!(!queue.needs_interrupt().unwrap(), "asked already");
    driver.set_no_interrupt(true);
    complete_one(&mut driver, &mut queue);
    assert!(!queue.needs_interrupt().unwrap());
    assert_eq!(queue.counters().stats().interrupts, 1);
}

#[test]
fn with_event_idx_the_interrupt_comes_when_the_event_is_passed() {
    let (mut driver, mut queue) = event_idx_pair();
    driver.set_used_event(2);
    let asked: Vec<bool> = (0..5)
        .map(|_| {
            complete_one(&mut driver, &mut queue);
            queue.needs_interrupt().unwrap()
        })
        .collect();
    assert_eq!(asked, [false, false, true, false, false]);
    // Several at once that pass the event count as one.
    driver.set_used_event(6);
    (0..4).for_each(|_| complete_one(&mut driver, &mut queue));
    assert!(queue.needs_interrupt().unwrap());
}

#[test]
fn more_completions_than_the_index_can_tell_apart_always_interrupt() {
    let (mut driver, mut queue) = event_idx_pair();
    driver.set_used_event(0x100);
    (0..0x1_0000).for_each(|_| complete_one(&mut driver, &mut queue));
    assert!(queue.needs_interrupt().unwrap());
}

#[test]
fn the_driver_rings_only_when_asked_to() {
    let (mut driver, mut queue) = pair(8);
    queue.disable_notifications().unwrap();
    driver.add(&[W]);
    assert!(!driver.publish());
    assert!(queue.enable_notifications().unwrap(), "what came in between is told");
    queue.pop().unwrap().unwrap();
    assert!(!queue.enable_notifications().unwrap());
    driver.add(&[W]);
    assert!(driver.publish());
}

#[test]
fn with_event_idx_the_driver_rings_once_per_enabling() {
    let (mut driver, mut queue) = event_idx_pair();
    assert!(!queue.enable_notifications().unwrap());
    driver.add(&[W]);
    assert!(driver.publish());
    driver.add(&[W]);
    assert!(!driver.publish(), "the device is awake already");
    assert!(queue.enable_notifications().unwrap());
    queue.pop().unwrap().unwrap();
    queue.pop().unwrap().unwrap();
    assert!(!queue.enable_notifications().unwrap());
    driver.add(&[W]);
    assert!(driver.publish());
}
