//! A small first-fit heap over a static array: free blocks in a list by address, joined when freed.
//!
//! One CPU and no interrupts, so there is no lock.
#![allow(unsafe_code, reason = "a global allocator")]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr;

const SIZE: usize = 512 * 1024;
/// Granule and alignment of blocks; no type of ours needs more, and a layout that does gets none.
const UNIT: usize = 16;

#[repr(C, align(16))]
struct Free {
    size: usize,
    next: *mut Free,
}

#[repr(C, align(16))]
struct Arena([u8; SIZE]);

struct State {
    head: *mut Free,
    ready: bool,
    arena: Arena,
}

struct Heap(UnsafeCell<State>);

// SAFETY: one CPU, one thread, no interrupts; the exception path does not allocate.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap =
    Heap(UnsafeCell::new(State { head: ptr::null_mut(), ready: false, arena: Arena([0; SIZE]) }));

fn rounded(layout: Layout) -> Option<usize> {
    (layout.align() <= UNIT).then(|| layout.size().max(UNIT).checked_next_multiple_of(UNIT)).flatten()
}

// SAFETY: blocks are whole multiples of UNIT from the arena, handed out once, and returned with the
// layout that they were asked for with, whose rounded size is the block's.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(size) = rounded(layout) else { return ptr::null_mut() };
        let state = self.0.get();
        // SAFETY: nobody else holds the state; `link` always points at the list's head or at the `next`
        // of a free block inside the arena.
        unsafe {
            if !(*state).ready {
                (*state).ready = true;
                let first = (&raw mut (*state).arena).cast::<Free>();
                first.write(Free { size: SIZE, next: ptr::null_mut() });
                (*state).head = first;
            }
            let mut link = &raw mut (*state).head;
            while !(*link).is_null() {
                let block = *link;
                if (*block).size >= size {
                    if (*block).size == size {
                        *link = (*block).next;
                    } else {
                        let rest = block.cast::<u8>().add(size).cast::<Free>();
                        rest.write(Free { size: (*block).size - size, next: (*block).next });
                        *link = rest;
                    }
                    return block.cast();
                }
                link = &raw mut (*block).next;
            }
        }
        ptr::null_mut()
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(size) = rounded(layout) else { return };
        let block = block.cast::<Free>();
        let state = self.0.get();
        // SAFETY: as in `alloc`; the block is ours, so its bytes may hold the list's node again.
        unsafe {
            let mut before: *mut Free = ptr::null_mut();
            let mut after = (*state).head;
            while !after.is_null() && after < block {
                before = after;
                after = (*after).next;
            }
            block.write(Free { size, next: after });
            join(block);
            if before.is_null() {
                (*state).head = block;
            } else {
                (*before).next = block;
                join(before);
            }
        }
    }
}

/// Makes one block of this one and the next, if they touch.
///
/// # Safety
/// `block` is a node of the free list.
unsafe fn join(block: *mut Free) {
    // SAFETY: the caller's promise; `next` is null or a node as well.
    unsafe {
        let next = (*block).next;
        if !next.is_null() && block.cast::<u8>().wrapping_add((*block).size) == next.cast::<u8>() {
            (*block).size += (*next).size;
            (*block).next = (*next).next;
        }
    }
}
