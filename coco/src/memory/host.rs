//! How much of the host's memory a guest holds, asked of the files behind it.
#![allow(unsafe_code, reason = "cachestat(2) has no safe wrapper")]

use std::fs::File;
use std::os::fd::AsRawFd;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::PAGE_SIZE;

/// Host memory behind a guest, in bytes. What is not private is not all shared: a page that nobody has
/// touched costs nothing on either side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostMemory {
    /// Behind the shared side.
    pub shared: u64,
    /// Behind the private side (guest_memfd).
    pub private: u64,
}

impl HostMemory {
    /// Both sides together.
    pub fn total(&self) -> u64 {
        self.shared.saturating_add(self.private)
    }
}

/// Bytes of host memory in the page cache of `file`: that is where memfd and guest_memfd have theirs.
/// (`st_blocks` says 0 for a guest_memfd.) None where the kernel has no cachestat (before Linux 6.5).
pub(crate) fn resident(file: &File) -> Option<u64> {
    /// `struct cachestat_range` (include/uapi/linux/mman.h); a length of 0 means to the end.
    #[repr(C)]
    #[derive(IntoBytes, Immutable)]
    struct Range {
        off: u64,
        len: u64,
    }
    /// `struct cachestat`: pages in the cache, dirty, under writeback, evicted, recently evicted.
    #[repr(C)]
    #[derive(Default, FromBytes, KnownLayout)]
    struct Stat {
        cache: u64,
        dirty: u64,
        writeback: u64,
        evicted: u64,
        recently_evicted: u64,
    }
    /// `__NR_cachestat` (asm-generic/unistd.h): the same on all architectures.
    const CACHESTAT: libc::c_long = 451;

    let range = Range { off: 0, len: 0 };
    let mut stat = Stat::default();
    // SAFETY: both structs have the kernel's layout and live across the call; the kernel reads the first
    // and writes the second.
    let ret = unsafe { libc::syscall(CACHESTAT, file.as_raw_fd(), &raw const range, &raw mut stat, 0u32) };
    (ret == 0).then(|| stat.cache.saturating_mul(PAGE_SIZE))
}

#[cfg(test)]
mod tests {
    use crate::memory::{GuestRam, RamRange};

    use super::*;

    #[test]
    fn what_is_touched_is_counted_and_what_is_discarded_is_not() {
        let ram = GuestRam::new(&[RamRange { start: 0, size: 64 * PAGE_SIZE }]).unwrap();
        let Some(before) = resident(ram.file()) else {
            // A kernel before 6.5: there is nothing to ask, and that is what the caller is told.
            return;
        };
        assert_eq!(before, 0);
        for page in 0..10 {
            ram.load(page * PAGE_SIZE, &[1]).unwrap();
        }
        assert_eq!(resident(ram.file()), Some(10 * PAGE_SIZE));
        ram.discard(2 * PAGE_SIZE, 3 * PAGE_SIZE).unwrap();
        assert_eq!(resident(ram.file()), Some(7 * PAGE_SIZE));
    }
}
