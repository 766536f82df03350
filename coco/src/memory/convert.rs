//! Conversion of pages from private to shared and back: one function, one lock, counted and timed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use snafu::Snafu;

use super::{PAGE_SIZE, SharedMemory};

/// What a page is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Only the guest may read it.
    Private,
    /// The host and its devices may read and write it.
    Shared,
}

/// The private side of guest memory, where the platform has one of its own (guest_memfd).
///
/// Called with the conversion lock held, in the order the kernel wants: the attribute first, so that no
/// vCPU can fault the old side in again, then the discard (coco.md 2.13).
pub trait PrivateBacking: Send + Sync {
    /// Sets KVM's memory attribute for `[gpa, gpa + len)`.
    fn set_private(&self, gpa: u64, len: u64, private: bool) -> std::io::Result<()>;
    /// Gives the private pages of `[gpa, gpa + len)` back to the host.
    fn discard_private(&self, gpa: u64, len: u64) -> std::io::Result<()>;
    /// Whether the shared copy is a page apart from the private one, to be discarded when a page
    /// turns private. False where both are the same page (plain memory, the simulator).
    fn separate(&self) -> bool;
}

/// No private side: plain memory, where privacy is only what devices are held to.
#[derive(Debug)]
pub struct NoPrivateBacking;

impl PrivateBacking for NoPrivateBacking {
    fn set_private(&self, _gpa: u64, _len: u64, _private: bool) -> std::io::Result<()> {
        Ok(())
    }
    fn discard_private(&self, _gpa: u64, _len: u64) -> std::io::Result<()> {
        Ok(())
    }
    fn separate(&self) -> bool {
        false
    }
}

/// Why a conversion was not done.
#[derive(Debug, Snafu)]
pub enum ConvertError {
    /// The range is empty, not whole pages, or wraps around the address space.
    #[snafu(display("conversion of {pages} pages at {gpa:#x}: empty, not page aligned, or wrapping"))]
    BadRange {
        /// First guest-physical address asked for.
        gpa: u64,
        /// Number of 4 KiB pages asked for.
        pages: u64,
    },
    /// A range that is not RAM was to become private.
    #[snafu(display("conversion of {pages} pages at {gpa:#x} to private: not all of it is RAM"))]
    NotRam {
        /// First guest-physical address asked for.
        gpa: u64,
        /// Number of 4 KiB pages asked for.
        pages: u64,
    },
    /// The kernel refused.
    #[snafu(display("conversion of {pages} pages at {gpa:#x} failed in the kernel: {source}"))]
    Kernel {
        /// First guest-physical address asked for.
        gpa: u64,
        /// Number of 4 KiB pages asked for.
        pages: u64,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

/// What conversions have cost so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConvertStats {
    /// Conversions done.
    pub conversions: u64,
    /// Conversions refused.
    pub refused: u64,
    /// Pages that changed to shared.
    pub pages_to_shared: u64,
    /// Pages that changed to private.
    pub pages_to_private: u64,
    /// Pages private now.
    pub private_pages: u64,
    /// Time spent.
    pub time: Duration,
}

#[derive(Debug, Default)]
struct Counters {
    conversions: AtomicU64,
    refused: AtomicU64,
    to_shared: AtomicU64,
    to_private: AtomicU64,
    nanos: AtomicU64,
}

/// Changes which pages of a guest are private. There is one per VM.
pub struct Converter {
    memory: SharedMemory,
    backing: Box<dyn PrivateBacking>,
    counters: Counters,
}

impl Converter {
    /// A converter for `memory` with the private side that the platform has.
    pub fn new(memory: SharedMemory, backing: Box<dyn PrivateBacking>) -> Self {
        Converter { memory, backing, counters: Counters::default() }
    }

    /// A converter for memory without a private side of its own (plain, simulated).
    pub fn plain(memory: SharedMemory) -> Self {
        Converter::new(memory, Box::new(NoPrivateBacking))
    }

    /// The devices' window whose privacy this converter changes.
    pub fn memory(&self) -> &SharedMemory {
        &self.memory
    }

    /// Converts `pages` pages of 4 KiB at `gpa`, all of them or none that the caller could tell apart.
    ///
    /// All numbers come from the guest. Ranges outside RAM may become shared (guests mark MMIO shared)
    /// but not private. The whole range is done before this returns; devices' accesses in progress end
    /// first, later ones see the new state. Contents do not survive where the two sides are separate.
    pub fn convert(&self, gpa: u64, pages: u64, to: Target) -> Result<(), ConvertError> {
        let began = Instant::now();
        let done = self.convert_locked(gpa, pages, to);
        let count = if done.is_ok() { &self.counters.conversions } else { &self.counters.refused };
        count.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.counters.nanos.fetch_add(nanos, Ordering::Relaxed);
        done
    }

    fn convert_locked(&self, gpa: u64, pages: u64, to: Target) -> Result<(), ConvertError> {
        let bad = || ConvertError::BadRange { gpa, pages };
        let len = pages.checked_mul(PAGE_SIZE).filter(|&l| l > 0).ok_or_else(bad)?;
        if !gpa.is_multiple_of(PAGE_SIZE) || gpa.checked_add(len).is_none() {
            return Err(bad());
        }
        let ram = self.memory.ram();
        if to == Target::Private && !ram.contains(gpa, len) {
            return Err(ConvertError::NotRam { gpa, pages });
        }
        let kernel = |source| ConvertError::Kernel { gpa, pages, source };
        let mut privacy = self.memory.privacy().write().unwrap_or_else(|e| e.into_inner());
        // Parts outside RAM are no business of the kernel's: only what is RAM is asked for.
        for r in ram.ranges() {
            let (start, end) = (gpa.max(r.start), gpa.saturating_add(len).min(r.end()));
            let Some(part) = end.checked_sub(start).filter(|&l| l > 0) else { continue };
            match to {
                Target::Private => {
                    self.backing.set_private(start, part, true).map_err(kernel)?;
                    let changed = privacy.set(start, part, true);
                    self.counters.to_private.fetch_add(changed, Ordering::Relaxed);
                    if self.backing.separate() {
                        ram.discard(start, part).map_err(|e| kernel(e.into()))?;
                    }
                }
                Target::Shared => {
                    self.backing.set_private(start, part, false).map_err(kernel)?;
                    self.backing.discard_private(start, part).map_err(kernel)?;
                    let changed = privacy.set(start, part, false);
                    self.counters.to_shared.fetch_add(changed, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }

    /// What has been counted so far.
    pub fn stats(&self) -> ConvertStats {
        let privacy = self.memory.privacy().read().unwrap_or_else(|e| e.into_inner());
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        ConvertStats {
            conversions: get(&self.counters.conversions),
            refused: get(&self.counters.refused),
            pages_to_shared: get(&self.counters.to_shared),
            pages_to_private: get(&self.counters.to_private),
            private_pages: privacy.private_pages(),
            time: Duration::from_nanos(get(&self.counters.nanos)),
        }
    }
}

impl std::fmt::Debug for Converter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Converter").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{GuestRam, RamRange};
    use std::sync::{Arc, Mutex};

    #[derive(Debug, PartialEq, Clone, Copy)]
    enum Call {
        Attribute(u64, u64, bool),
        Discard(u64, u64),
    }

    #[derive(Default, Clone)]
    struct Recorder {
        calls: Arc<Mutex<Vec<Call>>>,
        fail: bool,
    }

    impl PrivateBacking for Recorder {
        fn set_private(&self, gpa: u64, len: u64, private: bool) -> std::io::Result<()> {
            self.calls.lock().unwrap().push(Call::Attribute(gpa, len, private));
            if self.fail { Err(std::io::Error::from_raw_os_error(12)) } else { Ok(()) }
        }
        fn discard_private(&self, gpa: u64, len: u64) -> std::io::Result<()> {
            self.calls.lock().unwrap().push(Call::Discard(gpa, len));
            Ok(())
        }
        fn separate(&self) -> bool {
            true
        }
    }

    fn converter(backing: Recorder) -> Converter {
        let ram = GuestRam::new(&[
            RamRange { start: 0, size: 0x10000 },
            RamRange { start: 0x100000, size: 0x10000 },
        ])
        .unwrap();
        Converter::new(SharedMemory::new(ram), Box::new(backing))
    }

    #[test]
    fn the_attribute_comes_first_then_the_discard() {
        let rec = Recorder::default();
        let c = converter(rec.clone());
        c.convert(0x1000, 2, Target::Private).unwrap();
        c.convert(0x1000, 1, Target::Shared).unwrap();
        assert_eq!(
            *rec.calls.lock().unwrap(),
            [
                Call::Attribute(0x1000, 0x2000, true),
                Call::Attribute(0x1000, 0x1000, false),
                Call::Discard(0x1000, 0x1000)
            ]
        );
        let s = c.stats();
        assert_eq!((s.conversions, s.pages_to_private, s.pages_to_shared, s.private_pages), (2, 2, 1, 1));
    }

    #[test]
    fn the_shared_copy_of_a_page_that_turns_private_is_gone() {
        let c = converter(Recorder::default());
        c.memory().write(0x1000, b"old shared contents").unwrap();
        c.convert(0x1000, 1, Target::Private).unwrap();
        assert!(c.memory().read(0x1000, &mut [0; 4]).is_err());
        c.convert(0x1000, 1, Target::Shared).unwrap();
        assert_eq!(c.memory().read_obj::<u64>(0x1000).unwrap(), 0);
    }

    #[test]
    fn hostile_ranges_are_refused_and_counted() {
        let c = converter(Recorder::default());
        for (gpa, pages) in [(0, 0), (1, 1), (0x1000, u64::MAX), (!0xfff, 2), (0, u64::MAX / PAGE_SIZE + 1)] {
            assert!(matches!(c.convert(gpa, pages, Target::Shared), Err(ConvertError::BadRange { .. })));
        }
        // The hole between the two ranges of RAM, and a range that only begins in RAM.
        assert!(matches!(c.convert(0x10000, 1, Target::Private), Err(ConvertError::NotRam { .. })));
        assert!(matches!(c.convert(0xf000, 2, Target::Private), Err(ConvertError::NotRam { .. })));
        assert_eq!(c.stats().refused, 7);
        // Guests mark MMIO as shared: nothing to do, and no error.
        c.convert(0xfee00000, 1, Target::Shared).unwrap();
    }

    #[test]
    fn a_kernel_refusal_leaves_the_map_as_it_was() {
        let c = converter(Recorder { fail: true, ..Recorder::default() });
        assert!(matches!(c.convert(0x1000, 1, Target::Private), Err(ConvertError::Kernel { .. })));
        assert_eq!(c.stats().private_pages, 0);
        c.memory().read(0x1000, &mut [0; 4]).unwrap();
    }
}
