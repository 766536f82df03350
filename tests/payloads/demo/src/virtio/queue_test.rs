use super::*;
use crate::testing::{GPA, HostRef};

const BUFFERS: usize = 0x3000;
const USED_INDEX: usize = USED + RING_INDEX;

fn queue() -> (HostRef, Queue) {
    let mut memory = HostRef::new(Box::new(|_, _| Vec::new()));
    let queue = Queue::new(&mut memory, 0, BUFFERS, 256).unwrap();
    (memory, queue)
}

/// The device says that it used these.
fn used(memory: &mut HostRef, elements: &[(u32, u32)]) {
    for (i, (id, len)) in elements.iter().enumerate() {
        assert!(memory.write(USED + RING + i * 8, &id.to_le_bytes()));
        assert!(memory.write(USED + RING + i * 8 + 4, &len.to_le_bytes()));
    }
    assert!(memory.store(USED_INDEX, elements.len() as u16));
}

#[test]
fn a_descriptor_goes_and_comes_back() {
    let (mut memory, mut queue) = queue();
    assert_eq!(queue.free(1), Some(0));
    queue.give(&mut memory, 0, 100, true).unwrap();
    assert_eq!((queue.free(1), queue.free(2)), (None, Some(1)));
    let mut descriptor = [0; 16];
    assert!(memory.read(DESCRIPTORS, &mut descriptor));
    assert_eq!(descriptor[..8], (GPA + BUFFERS as u64).to_le_bytes());
    assert_eq!(descriptor[8..], [100, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(memory.load(AVAILABLE + RING_INDEX), Some(1));
    assert_eq!(queue.take(&memory), Ok(None));
    used(&mut memory, &[(0, 99)]);
    assert_eq!(queue.take(&memory), Ok(Some((0, 99))));
    assert_eq!(queue.take(&memory), Ok(None));
    assert_eq!(queue.free(1), Some(0));
}

#[test]
fn a_chain_comes_back_by_its_first_descriptor() {
    let part = |descriptor, len, writable| Part { descriptor, len, writable };
    let chain = [part(3, 16, false), part(1, 200, true), part(7, 1, true)];
    let (mut memory, mut queue) = queue();
    queue.give_chain(&mut memory, &chain).unwrap();
    for (at, len, flags, next) in [(3, 16, 1, 1), (1, 200, 3, 7), (7, 1, 2, 0)] {
        let mut descriptor = [0; 16];
        assert!(memory.read(DESCRIPTORS + at * 16, &mut descriptor));
        assert_eq!(descriptor[..8], (GPA + (BUFFERS + at * 256) as u64).to_le_bytes());
        assert_eq!(descriptor[8..], [len, 0, 0, 0, flags, 0, next, 0]);
    }
    assert_eq!(memory.load(AVAILABLE + RING_INDEX), Some(1), "one request");
    used(&mut memory, &[(3, 201)]);
    assert_eq!(queue.take(&memory), Ok(Some((3, 201))));

    for (elements, lie) in [
        (&[(3, 218)][..], "more bytes than the buffer has"),
        (&[(1, 0)], "a descriptor came back twice"),
        (&[(3, 0), (1, 0)], "the used index runs ahead"),
    ] {
        let (mut memory, mut queue) = self::queue();
        queue.give_chain(&mut memory, &chain).unwrap();
        used(&mut memory, elements);
        assert_eq!(queue.take(&memory), Err(HostError::Ring(lie)));
    }
    assert!(queue.give_chain(&mut memory, &[]).is_err());
    assert!(queue.give_chain(&mut memory, &[part(0, 1, true), part(16, 1, true)]).is_err());
    assert_eq!(memory.load(AVAILABLE + RING_INDEX), Some(1), "nothing was given");
}

#[test]
fn lies_in_the_used_ring_are_noticed() {
    for (elements, lie) in [
        (&[(0, 101)][..], "more bytes than the buffer has"),
        (&[(1, 0)], "a descriptor came back twice"),
        (&[(16, 0)], "no such descriptor"),
        (&[(u32::MAX, 0)], "no such descriptor"),
        (&[(0, 0), (0, 0)], "the used index runs ahead"),
    ] {
        let (mut memory, mut queue) = queue();
        queue.give(&mut memory, 0, 100, true).unwrap();
        used(&mut memory, elements);
        assert_eq!(queue.take(&memory), Err(HostError::Ring(lie)));
    }
}

#[test]
fn indices_wrap() {
    let (mut memory, mut queue) = queue();
    for round in 0..70_000u32 {
        let descriptor = (round % 5) as u16;
        queue.give(&mut memory, descriptor, 1, false).unwrap();
        let slot = USED + RING + (round as usize % 16) * 8;
        assert!(memory.write(slot, &u32::from(descriptor).to_le_bytes()));
        assert!(memory.write(slot + 4, &[0; 4]));
        assert!(memory.store(USED_INDEX, (round + 1) as u16));
        assert_eq!(queue.take(&memory), Ok(Some((descriptor, 0))));
    }
}

#[test]
fn a_region_that_is_too_small_is_refused() {
    let mut memory = HostRef::new(Box::new(|_, _| Vec::new()));
    memory.host().memory.truncate(0x1000);
    assert!(Queue::new(&mut memory, 0x800, 0, 1).is_err());
    let mut queue = Queue::new(&mut memory, 0, 0, 16).unwrap();
    assert!(queue.give(&mut memory, 16, 1, true).is_err());
    assert!(queue.give(&mut memory, 0, 17, true).is_err());
    assert!(queue.give(&mut memory, 0, 0, true).is_err());
}
