//! Guest RAM and its host backing: one sealed memfd, mapped once.

use std::fs::File;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags};
use snafu::{ResultExt, Snafu};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use super::PAGE_SIZE;

/// A range of guest-physical addresses that is RAM. Both fields are multiples of [`PAGE_SIZE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RamRange {
    /// First guest-physical address.
    pub start: u64,
    /// Length in bytes.
    pub size: u64,
}

impl RamRange {
    /// The address after the last one.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.size)
    }
}

/// What can go wrong while RAM is made or loaded.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(super)))]
pub enum RamError {
    /// The host refused the anonymous file behind guest RAM.
    #[snafu(display("cannot create {} MiB of guest memory: {source}", size >> 20))]
    Create {
        /// Bytes asked for.
        size: u64,
        /// The kernel's answer.
        source: rustix::io::Errno,
    },
    /// The file that was to hold guest RAM could not be made.
    #[snafu(display("cannot create a file for {} MiB of guest memory: {source}", size >> 20))]
    File {
        /// Bytes asked for.
        size: u64,
        /// What its maker said.
        source: std::io::Error,
    },
    /// The ranges are not whole pages, empty, overlapping or too large.
    #[snafu(display("guest RAM at {start:#x}, {size:#x} bytes: not whole pages, empty, or overlapping"))]
    Layout {
        /// First address of the offending range.
        start: u64,
        /// Its length.
        size: u64,
    },
    /// Mapping the file failed.
    #[snafu(display("cannot map guest memory: {reason}"))]
    Map {
        /// What vm-memory said.
        reason: String,
    },
    /// Bytes were to be put where there is no RAM.
    #[snafu(display("{len:#x} bytes at guest address {gpa:#x} are not inside guest RAM"))]
    Outside {
        /// First guest-physical address.
        gpa: u64,
        /// Length in bytes.
        len: u64,
    },
}

/// All RAM of one guest: the shared side of every page (and the only side where there is no
/// guest_memfd). Cloning gives another handle on the same memory.
///
/// The memfd is sealed against shrinking, so that no peer process that gets it (vhost-user) can make
/// an access of ours end in SIGBUS.
#[derive(Debug, Clone)]
pub struct GuestRam {
    mmap: GuestMemoryMmap,
    file: Arc<File>,
    ranges: Arc<[RamRange]>,
}

impl GuestRam {
    /// Makes RAM over `ranges`: page aligned, sorted, apart from one another.
    pub fn new(ranges: &[RamRange]) -> Result<Self, RamError> {
        let size = size_of_layout(ranges)?;
        let fd = rustix::fs::memfd_create("cloister-ram", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .context(CreateSnafu { size })?;
        rustix::fs::ftruncate(&fd, size).context(CreateSnafu { size })?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
            .context(CreateSnafu { size })?;
        GuestRam::map(ranges, File::from(fd))
    }

    /// Makes RAM over `ranges` in a file that `create` makes of as many bytes as it is told, and that nobody
    /// can shrink: a guest_memfd that is mapped, for a plain VM.
    pub fn in_file(
        ranges: &[RamRange],
        create: impl FnOnce(u64) -> std::io::Result<File>,
    ) -> Result<Self, RamError> {
        let size = size_of_layout(ranges)?;
        let file = create(size).map_err(|source| RamError::File { size, source })?;
        GuestRam::map(ranges, file)
    }

    fn map(ranges: &[RamRange], file: File) -> Result<Self, RamError> {
        let file = Arc::new(file);
        let mut offset: u64 = 0;
        let mut maps = Vec::with_capacity(ranges.len());
        for r in ranges {
            let len = usize::try_from(r.size).map_err(|e| RamError::Map { reason: e.to_string() })?;
            maps.push((GuestAddress(r.start), len, Some(FileOffset::from_arc(Arc::clone(&file), offset))));
            offset = offset.saturating_add(r.size);
        }
        let mmap = GuestMemoryMmap::<()>::from_ranges_with_files(maps)
            .map_err(|e| RamError::Map { reason: e.to_string() })?;
        Ok(GuestRam { mmap, file, ranges: ranges.into() })
    }

    /// The ranges that are RAM, ascending.
    pub fn ranges(&self) -> &[RamRange] {
        &self.ranges
    }

    /// Bytes of RAM in all.
    pub fn size(&self) -> u64 {
        self.ranges.iter().map(|r| r.size).sum()
    }

    /// The file behind the RAM, a sealed memfd unless it was made [in another](Self::in_file); ranges lie in
    /// it one after another.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Each range with the host address it is mapped at, for KVM memory slots.
    pub fn host_mappings(&self) -> Vec<(RamRange, u64)> {
        self.mmap
            .iter()
            .map(|region| {
                let range = RamRange { start: region.start_addr().0, size: region.len() };
                (range, region.as_ptr() as u64)
            })
            .collect()
    }

    /// Writes `bytes` at `gpa` without asking whether the page is private. For the launch only: once
    /// the guest runs, devices go through [`super::SharedMemory`].
    pub fn load(&self, gpa: u64, bytes: &[u8]) -> Result<(), RamError> {
        self.mmap
            .write_slice(bytes, GuestAddress(gpa))
            .map_err(|_| RamError::Outside { gpa, len: bytes.len() as u64 })
    }

    /// Reads bytes at `gpa` without asking whether the page is private. For the simulator, whose PSP
    /// stands where the hardware would, and for tests.
    pub fn peek(&self, gpa: u64, bytes: &mut [u8]) -> Result<(), RamError> {
        let len = bytes.len() as u64;
        self.mmap.read_slice(bytes, GuestAddress(gpa)).map_err(|_| RamError::Outside { gpa, len })
    }

    /// Whether `[gpa, gpa + len)` lies wholly in RAM.
    pub fn contains(&self, gpa: u64, len: u64) -> bool {
        let Some(end) = gpa.checked_add(len) else { return false };
        self.ranges.iter().any(|r| gpa >= r.start && end <= r.end())
    }

    pub(super) fn mmap(&self) -> &GuestMemoryMmap {
        &self.mmap
    }

    /// Gives the host's copy of `[gpa, gpa + len)` back to the host; the next reader sees zeros.
    pub(super) fn discard(&self, gpa: u64, len: u64) -> Result<(), rustix::io::Errno> {
        let mut offset: u64 = 0;
        for r in self.ranges.iter() {
            let (start, end) = (gpa.max(r.start), gpa.saturating_add(len).min(r.end()));
            if start < end {
                let at = offset.saturating_add(start.saturating_sub(r.start));
                let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
                rustix::fs::fallocate(&*self.file, flags, at, end.saturating_sub(start))?;
            }
            offset = offset.saturating_add(r.size);
        }
        Ok(())
    }
}

/// Bytes of RAM in `ranges`, once they are seen to be whole pages, sorted and apart.
fn size_of_layout(ranges: &[RamRange]) -> Result<u64, RamError> {
    let mut size: u64 = 0;
    let mut end = 0;
    for (i, r) in ranges.iter().enumerate() {
        let aligned = r.start % PAGE_SIZE == 0 && r.size % PAGE_SIZE == 0 && r.size > 0;
        let apart = i == 0 || r.start >= end;
        match (aligned && apart, r.start.checked_add(r.size), size.checked_add(r.size)) {
            (true, Some(e), Some(s)) => (end, size) = (e, s),
            _ => return LayoutSnafu { start: r.start, size: r.size }.fail(),
        }
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_is_sealed_and_loads() {
        let ram =
            GuestRam::new(&[RamRange { start: 0, size: 0x4000 }, RamRange { start: 1 << 32, size: 0x2000 }])
                .unwrap();
        assert!(ram.file().set_len(0).is_err(), "a peer could shrink guest memory");
        ram.load((1 << 32) + 0x1ffe, &[1, 2]).unwrap();
        let mut back = [0; 2];
        ram.peek((1 << 32) + 0x1ffe, &mut back).unwrap();
        assert_eq!(back, [1, 2]);
        assert!(ram.load(0x3fff, &[0; 2]).is_err());
        assert!(!ram.contains(0x3fff, 2));
        assert!(ram.contains(1 << 32, 0x2000));
        ram.discard((1 << 32) + 0x1000, 0x1000).unwrap();
        ram.peek((1 << 32) + 0x1ffe, &mut back).unwrap();
        assert_eq!(back, [0, 0]);
    }

    #[test]
    fn bad_layouts_are_refused() {
        for bad in [
            vec![RamRange { start: 0, size: 0 }],
            vec![RamRange { start: 1, size: 0x1000 }],
            vec![RamRange { start: 0, size: 0x2000 }, RamRange { start: 0x1000, size: 0x1000 }],
            vec![RamRange { start: u64::MAX - 0xfff, size: 0x1000 }],
        ] {
            assert!(GuestRam::new(&bad).is_err(), "{bad:?}");
        }
    }
}
