//! Interrupts, doorbells, and where they are.

use super::driver::{BOTH_WAYS, Guest, Way, reg};
use super::*;

const VERSION_1: u64 = 1 << 32;

fn active(way: Way) -> (Guest, Toy) {
    let toy = Toy::default();
    let mut guest = Guest::new(toy.clone(), way, false);
    guest.initialise(VERSION_1);
    (guest, toy)
}

/// Calls `f` with what the toy was activated with.
fn with<R>(toy: &Toy, f: impl FnOnce(&mut Activation) -> R) -> R {
    f(toy.told.lock().unwrap().activation.as_mut().unwrap())
}

#[test]
fn a_change_of_configuration_interrupts_and_counts() {
    for way in BOTH_WAYS {
        let (mut guest, toy) = active(way);
        let before = guest.get(reg::GENERATION);
        with(&toy, |a| a.config.signal());
        assert_eq!(guest.get(reg::GENERATION), (before + 1) & 0xff);
        assert_eq!(guest.msi.vector(0).triggered, 1);
        assert_eq!(guest.read(guest.isr, 1), 2);
        assert_eq!(guest.read(guest.isr, 1), 0, "reading clears");
    }
}

#[test]
fn queues_interrupt_by_the_vectors_they_were_given() {
    let (mut guest, toy) = active(Way::Memory);
    with(&toy, |a| a.queues[2].as_ref().unwrap().interrupt.signal());
    assert_eq!((guest.msi.vector(1).triggered, guest.msi.vector(3).triggered), (0, 1));
    // The driver moves two queues to one vector, and one to none.
    for (queue, vector) in [(1, 3), (2, 0xffff)] {
        guest.set(reg::QUEUE_SELECT, queue);
        guest.set(reg::QUEUE_VECTOR, vector);
    }
    for queue in [1, 2] {
        with(&toy, |a| a.queues[queue].as_ref().unwrap().interrupt.signal());
    }
    assert_eq!(guest.msi.vector(3).triggered, 2);
    assert_eq!(guest.read(guest.isr, 1), 1);
}

#[test]
fn a_masked_interrupt_waits_in_the_pending_bits() {
    let (mut guest, toy) = active(Way::Memory);
    let table = u64::from(guest.hands.config32(guest.slot, guest.msix + 4) & !7);
    let pending = u64::from(guest.hands.config32(guest.slot, guest.msix + 8) & !7);
    guest.write(table + 16 + 12, 4, 1);
    with(&toy, |a| a.queues[0].as_ref().unwrap().interrupt.signal());
    assert_eq!((guest.read(pending, 4), guest.msi.vector(1).triggered), (2, 0));
    guest.write(table + 16 + 12, 4, 0);
    assert_eq!((guest.read(pending, 4), guest.msi.vector(1).triggered), (0, 1));
    assert_eq!(guest.msi.vector(1).lost, 0);
}

#[test]
fn a_doorbell_write_that_arrives_as_an_exit_rings() {
    for way in BOTH_WAYS {
        let (mut guest, toy) = active(way);
        for queue in [0, 1, 2, 0] {
            guest.ring(queue);
            let rung =
                with(&toy, |a| a.queues.iter().map(|q| q.as_ref().unwrap().kick.drain()).collect::<Vec<_>>());
            let want: Vec<bool> = (0..3).map(|q| q == queue).collect();
            assert_eq!(rung, want);
        }
        // Beyond the last queue there is no bell.
        let beyond = guest.notify + 12;
        guest.write(beyond, 2, 0);
        assert!(with(&toy, |a| a.queues.iter().all(|q| !q.as_ref().unwrap().kick.drain())));
    }
}

#[test]
fn doorbells_are_where_the_bar_is() {
    let (mut guest, _toy) = active(Way::Memory);
    let slot = guest.slot;
    let at = |base: u64, notify: u64| [base + notify, base + notify + 4, base + notify + 8];
    let first = guest.hands.bar(slot, 0);
    assert_eq!(guest.doorbells.addresses(), at(first, guest.notify));
    guest.hands.set_config32(slot, 0x10, 0xd000_0000);
    assert_eq!(guest.doorbells.addresses(), at(0xd000_0000, guest.notify));
    // Sizing, as guests do it: away, and back.
    guest.hands.set_config32(slot, 0x10, u32::MAX);
    assert_eq!(guest.hands.config32(slot, 0x10), 0xffff_8000);
    assert!(guest.doorbells.addresses().is_empty());
    guest.hands.set_config32(slot, 0x10, 0xd000_0000);
    guest.hands.set_config16(slot, 4, 0);
    assert!(guest.doorbells.addresses().is_empty());
    guest.hands.set_config16(slot, 4, 2);
    assert_eq!(guest.doorbells.addresses(), at(0xd000_0000, guest.notify));
    // Over RAM a guest gets none.
    guest.hands.set_config32(slot, 0x10, 0x0010_0000);
    assert!(guest.doorbells.addresses().is_empty());
}

#[test]
fn doorbells_go_with_the_device() {
    let (guest, _toy) = active(Way::Memory);
    let doorbells = Arc::clone(&guest.doorbells);
    assert_eq!(doorbells.addresses().len(), 3);
    drop(guest);
    assert!(doorbells.addresses().is_empty());
}
