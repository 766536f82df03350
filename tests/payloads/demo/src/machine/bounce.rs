//! The bounce region: memory of the guest's that the host reads and writes as well.
#![allow(unsafe_code, reason = "memory that is shared with the host is reached through raw pointers only")]

use core::sync::atomic::{AtomicU16, Ordering, fence};

use demo_guest::boot_info::Range;
use demo_guest::platform::Bounce;

/// The region that the boot-info page names.
#[derive(Debug)]
pub struct BounceRegion {
    base: *mut u8,
    len: usize,
}

impl BounceRegion {
    /// # Safety
    /// `range` is RAM below 4 GiB, shared with the host, and nothing of ours lies in it. There is one such
    /// value for it.
    pub unsafe fn new(range: Range) -> Self {
        let len = range.end.saturating_sub(range.start) as usize;
        BounceRegion { base: core::ptr::with_exposed_provenance_mut(range.start as usize), len }
    }

    fn at(&self, offset: usize, len: usize) -> Option<*mut u8> {
        let inside = offset.checked_add(len)? <= self.len;
        inside.then(|| self.base.wrapping_add(offset))
    }

    fn word(&self, offset: usize) -> Option<&AtomicU16> {
        let at = self.at(offset, 2).filter(|at| at.addr() % 2 == 0)?;
        // SAFETY: `at` is aligned and inside the region, by the check in `at` and the promise of `new`;
        // the reference is to an atomic, which others may write.
        Some(unsafe { AtomicU16::from_ptr(at.cast()) })
    }
}

impl Bounce for BounceRegion {
    fn gpa(&self) -> u64 {
        self.base.addr() as u64
    }

    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, offset: usize, to: &mut [u8]) -> bool {
        let Some(from) = self.at(offset, to.len()) else { return false };
        for (i, byte) in to.iter_mut().enumerate() {
            // SAFETY: `at` checked the whole range; volatile, since the host may write at any time.
            *byte = unsafe { from.wrapping_add(i).read_volatile() };
        }
        true
    }

    fn write(&mut self, offset: usize, from: &[u8]) -> bool {
        let Some(to) = self.at(offset, from.len()) else { return false };
        for (i, byte) in from.iter().enumerate() {
            // SAFETY: as in `read`; the bytes are not ours to have references to.
            unsafe { to.wrapping_add(i).write_volatile(*byte) };
        }
        true
    }

    fn load(&self, offset: usize) -> Option<u16> {
        Some(self.word(offset)?.load(Ordering::Acquire))
    }

    fn store(&mut self, offset: usize, value: u16) -> bool {
        let Some(word) = self.word(offset) else { return false };
        word.store(value, Ordering::Release);
        // The device's flags are read next; that load must not overtake the store.
        fence(Ordering::SeqCst);
        true
    }
}
