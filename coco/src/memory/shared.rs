//! The devices' only window onto guest memory: shared pages, copied in and out.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard};

use snafu::Snafu;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, VolatileMemory, VolatileSlice};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{GuestRam, PrivacyMap, RamRange};

/// Why an access to guest memory was refused. All of these are the guest's doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Snafu)]
#[snafu(visibility(pub(super)))]
pub enum AccessError {
    /// The range is not wholly inside guest RAM (or wraps around).
    #[snafu(display("{len:#x} bytes at {gpa:#x} are not inside guest RAM"))]
    NotRam {
        /// First guest-physical address.
        gpa: u64,
        /// Length in bytes.
        len: u64,
    },
    /// The range touches a page that the guest holds private.
    #[snafu(display("{len:#x} bytes at {gpa:#x} touch the private page {page:#x}"))]
    Private {
        /// First guest-physical address.
        gpa: u64,
        /// Length in bytes.
        len: u64,
        /// The first private page that the range touches.
        page: u64,
    },
    /// An atomic access to an address that is not aligned to its size.
    #[snafu(display("atomic access to {gpa:#x}, which is not aligned"))]
    Unaligned {
        /// The guest-physical address.
        gpa: u64,
    },
}

/// Guest memory as a device may see it: every access is checked against the privacy map under a lock
/// that a conversion takes exclusively, so no access can straddle a change from shared to private.
///
/// Cheap to clone; all clones see the same memory and the same privacy.
#[derive(Debug, Clone)]
pub struct SharedMemory {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    ram: GuestRam,
    privacy: RwLock<PrivacyMap>,
    refused: AtomicU64,
}

impl SharedMemory {
    /// A window onto `ram` in which, as in a new VM, every page is shared.
    pub fn new(ram: GuestRam) -> Self {
        let privacy = RwLock::new(PrivacyMap::all_shared(ram.ranges()));
        SharedMemory { inner: Arc::new(Inner { ram, privacy, refused: AtomicU64::new(0) }) }
    }

    /// RAM of `size` bytes at address 0 with no VM around it: for device tests.
    pub fn for_test(size: u64) -> Self {
        match GuestRam::new(&[RamRange { start: 0, size }]) {
            Ok(ram) => SharedMemory::new(ram),
            #[expect(clippy::panic, reason = "a test fixture; never on a guest's path")]
            Err(e) => panic!("test memory: {e}"),
        }
    }

    /// Copies `buf.len()` bytes out of guest memory.
    pub fn read(&self, gpa: u64, buf: &mut [u8]) -> Result<(), AccessError> {
        let len = buf.len() as u64;
        let _held = self.checked(gpa, len)?;
        let ram = self.inner.ram.mmap();
        ram.read_slice(buf, GuestAddress(gpa)).map_err(|_| AccessError::NotRam { gpa, len })
    }

    /// Copies `buf` into guest memory.
    pub fn write(&self, gpa: u64, buf: &[u8]) -> Result<(), AccessError> {
        let len = buf.len() as u64;
        let _held = self.checked(gpa, len)?;
        let ram = self.inner.ram.mmap();
        ram.write_slice(buf, GuestAddress(gpa)).map_err(|_| AccessError::NotRam { gpa, len })
    }

    /// Copies a plain value out of guest memory.
    pub fn read_obj<T: FromBytes + IntoBytes>(&self, gpa: u64) -> Result<T, AccessError> {
        let mut value = T::new_zeroed();
        self.read(gpa, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Copies a plain value into guest memory.
    pub fn write_obj<T: IntoBytes + Immutable>(&self, gpa: u64, value: &T) -> Result<(), AccessError> {
        self.write(gpa, value.as_bytes())
    }

    /// Reads a ring index once, with acquire ordering: what the guest wrote before it is then visible.
    pub fn load_u16(&self, gpa: u64) -> Result<u16, AccessError> {
        let _held = self.checked(gpa, 2)?;
        self.atomic(gpa, |cell| u16::from_le(cell.load(Ordering::Acquire)))
    }

    /// Writes a ring index once, with release ordering: what we wrote before it is then visible.
    pub fn store_u16(&self, gpa: u64, value: u16) -> Result<(), AccessError> {
        let _held = self.checked(gpa, 2)?;
        self.atomic(gpa, |cell| cell.store(value.to_le(), Ordering::Release))
    }

    /// Says whether all of `[gpa, gpa + len)` is shared RAM now. It may change; every access asks again.
    pub fn check(&self, gpa: u64, len: u64) -> Result<(), AccessError> {
        self.checked(gpa, len).map(drop)
    }

    /// Whether the page that holds `gpa` is private now. Addresses outside RAM are not.
    pub fn is_private(&self, gpa: u64) -> bool {
        self.lock().first_private(gpa, 1).is_some()
    }

    /// Gives `f` the host memory behind `ranges` (guest address and length of each) for vectored I/O.
    ///
    /// The privacy lock is held while `f` runs, so that no page can turn private under it: `f` must not
    /// block. The slices are volatile memory that the guest writes at any time; nothing read from them
    /// may be read again after a check.
    pub fn with_slices<R>(
        &self,
        ranges: &[(u64, u32)],
        f: impl FnOnce(&[VolatileSlice<'_>]) -> R,
    ) -> Result<R, AccessError> {
        let privacy = self.lock();
        let mut slices = Vec::with_capacity(ranges.len());
        for &(gpa, len) in ranges {
            self.check_held(&privacy, gpa, u64::from(len))?;
            let slice = self
                .inner
                .ram
                .mmap()
                .get_slice(GuestAddress(gpa), len as usize)
                .map_err(|_| AccessError::NotRam { gpa, len: u64::from(len) })?;
            slices.push(slice);
        }
        Ok(f(&slices))
    }

    /// How many accesses have been refused since the start.
    pub fn refused(&self) -> u64 {
        self.inner.refused.load(Ordering::Relaxed)
    }

    pub(super) fn ram(&self) -> &GuestRam {
        &self.inner.ram
    }

    pub(super) fn privacy(&self) -> &RwLock<PrivacyMap> {
        &self.inner.privacy
    }

    fn lock(&self) -> RwLockReadGuard<'_, PrivacyMap> {
        // A poisoned map is still a map: it is only ever changed bit by bit.
        self.inner.privacy.read().unwrap_or_else(|e| e.into_inner())
    }

    fn checked(&self, gpa: u64, len: u64) -> Result<RwLockReadGuard<'_, PrivacyMap>, AccessError> {
        let privacy = self.lock();
        self.check_held(&privacy, gpa, len)?;
        Ok(privacy)
    }

    fn check_held(&self, privacy: &PrivacyMap, gpa: u64, len: u64) -> Result<(), AccessError> {
        let refusal = if !self.inner.ram.contains(gpa, len) {
            AccessError::NotRam { gpa, len }
        } else if let Some(page) = privacy.first_private(gpa, len) {
            AccessError::Private { gpa, len, page }
        } else {
            return Ok(());
        };
        self.inner.refused.fetch_add(1, Ordering::Relaxed);
        Err(refusal)
    }

    fn atomic<R>(&self, gpa: u64, f: impl FnOnce(&AtomicU16) -> R) -> Result<R, AccessError> {
        if !gpa.is_multiple_of(2) {
            return Err(AccessError::Unaligned { gpa });
        }
        let slice = self
            .inner
            .ram
            .mmap()
            .get_slice(GuestAddress(gpa), 2)
            .map_err(|_| AccessError::NotRam { gpa, len: 2 })?;
        let cell = slice.get_atomic_ref::<AtomicU16>(0).map_err(|_| AccessError::Unaligned { gpa })?;
        Ok(f(cell))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::PAGE_SIZE;

    #[test]
    fn copies_in_and_out() {
        let mem = SharedMemory::for_test(0x4000);
        mem.write(0x1ffe, &[1, 2, 3, 4]).unwrap();
        assert_eq!(mem.read_obj::<u32>(0x1ffe).unwrap(), 0x04030201);
        mem.store_u16(0x10, 0xbeef).unwrap();
        assert_eq!(mem.load_u16(0x10).unwrap(), 0xbeef);
        assert_eq!(mem.load_u16(0x11), Err(AccessError::Unaligned { gpa: 0x11 }));
    }

    #[test]
    fn outside_ram_is_refused() {
        let mem = SharedMemory::for_test(0x4000);
        assert!(mem.read(0x3fff, &mut [0; 2]).is_err());
        assert!(mem.read(u64::MAX, &mut [0; 2]).is_err());
        assert!(mem.with_slices(&[(0, 4), (0x4000, 1)], |_| ()).is_err());
        assert_eq!(mem.refused(), 3);
    }

    #[test]
    fn a_private_page_is_refused_on_every_path() {
        let mem = SharedMemory::for_test(0x4000);
        mem.privacy().write().unwrap().set(PAGE_SIZE, PAGE_SIZE, true);
        let private = |r: Result<(), AccessError>| {
            assert!(matches!(r, Err(AccessError::Private { page: PAGE_SIZE, .. })), "{r:?}");
        };
        private(mem.read(0xfff, &mut [0; 2]));
        private(mem.write(0x1000, &[0]));
        private(mem.load_u16(0x1000).map(drop));
        private(mem.store_u16(0x1ffe, 1));
        private(mem.check(0, 0x4000));
        private(mem.with_slices(&[(0, 8), (0x1800, 8)], |_| ()));
        assert!(mem.read(0x2000, &mut [0; 8]).is_ok());
    }
}
