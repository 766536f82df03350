//! Conversion of pages from private to shared and back: one function, no page twice at a time, counted and
//! timed.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock, RwLockWriteGuard};

use snafu::Snafu;

use super::claims::Claims;
use super::clock::Clock;
use super::host::resident;
use super::stats::{Line, Record};
use super::{ConvertEvent, ConvertStats, HostMemory, PAGE_SIZE, PrivacyMap, RamRange, SharedMemory};

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
/// Called for no page by two threads at a time, and in the order the kernel wants: the attribute first, so that
/// no vCPU can fault the old side in again, then the discard (coco.md 2.13).
pub trait PrivateBacking: Send + Sync {
    /// Sets KVM's memory attribute for `[gpa, gpa + len)`.
    fn set_private(&self, gpa: u64, len: u64, private: bool) -> io::Result<()>;
    /// Gives the private pages of `[gpa, gpa + len)` back to the host.
    fn discard_private(&self, gpa: u64, len: u64) -> io::Result<()>;
    /// Whether the shared copy is a page apart from the private one, to be discarded when a page
    /// turns private. False where both are the same page (plain memory, the simulator).
    fn separate(&self) -> bool;
    /// Bytes of host memory that the private side holds now; none where the host cannot tell.
    fn held(&self) -> Option<u64>;
}

/// No private side: plain memory, where privacy is only what devices are held to.
#[derive(Debug)]
pub struct NoPrivateBacking;

impl PrivateBacking for NoPrivateBacking {
    fn set_private(&self, _gpa: u64, _len: u64, _private: bool) -> io::Result<()> {
        Ok(())
    }
    fn discard_private(&self, _gpa: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
    fn separate(&self) -> bool {
        false
    }
    fn held(&self) -> Option<u64> {
        Some(0)
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
        source: io::Error,
    },
}

/// Somebody beside our own devices who may hold guest pages for longer than one access: an IOMMU mapping,
/// the memory table of a vhost back end. Our own devices ask anew at every access and hold nothing.
pub trait MemoryHolder: Send + Sync {
    /// Lets go of `[gpa, gpa + len)`, which is about to turn private: when this returns, no access of the
    /// holder's to it is in flight, and none will start. An error refuses the conversion.
    ///
    /// Called while the range is being converted: it must not convert.
    fn let_go(&self, gpa: u64, len: u64) -> io::Result<()>;
}

/// Changes which pages of a guest are private. There is one per VM.
pub struct Converter {
    memory: SharedMemory,
    backing: Box<dyn PrivateBacking>,
    clock: Clock,
    /// No page is converted twice at a time, and all is written down.
    claims: Claims<Record>,
    holders: RwLock<Vec<Arc<dyn MemoryHolder>>>,
    /// Whether there are any.
    held: AtomicBool,
}

impl Converter {
    /// A converter for `memory` with the private side that the platform has.
    pub fn new(memory: SharedMemory, backing: Box<dyn PrivateBacking>) -> Self {
        Converter {
            memory,
            backing,
            clock: Clock::new(),
            claims: Claims::default(),
            holders: RwLock::default(),
            held: AtomicBool::new(false),
        }
    }

    /// A converter for memory without a private side of its own (plain, simulated).
    pub fn plain(memory: SharedMemory) -> Self {
        Converter::new(memory, Box::new(NoPrivateBacking))
    }

    /// The devices' window whose privacy this converter changes.
    pub fn memory(&self) -> &SharedMemory {
        &self.memory
    }

    /// From now on `holder` is asked to let go of pages before they turn private.
    pub fn add_holder(&self, holder: Arc<dyn MemoryHolder>) {
        self.holders.write().unwrap_or_else(|e| e.into_inner()).push(holder);
        self.held.store(true, Ordering::Release);
    }

    /// Converts `pages` pages of 4 KiB at `gpa`.
    ///
    /// All numbers come from the guest. Ranges outside RAM may become shared (guests mark MMIO shared)
    /// but not private. The whole range is done before this returns; devices' accesses in progress end
    /// first, later ones see the new state. Contents do not survive where the two sides are separate.
    ///
    /// After an error in the middle, each page is as before or as asked for, and one of which neither the
    /// kernel nor we can be sure counts as private: devices are refused. To ask again is safe.
    pub fn convert(&self, gpa: u64, pages: u64, to: Target) -> Result<(), ConvertError> {
        let began = self.clock.now();
        let line = |changed| Line { began, ended: self.clock.now(), gpa, pages, to, changed };
        let end = match self.checked_end(gpa, pages, to) {
            Ok(end) => end,
            Err(error) => {
                self.claims.book(|record| record.conversion(&line(None)));
                return Err(error);
            }
        };
        let claim = self.claims.claim(gpa, end);
        let done = self.convert_ram(gpa, end, to);
        let line = line(done.as_ref().ok().copied());
        claim.end(|record| record.conversion(&line));
        done.map(drop).map_err(|source| ConvertError::Kernel { gpa, pages, source })
    }

    /// The end of a range that may be converted.
    fn checked_end(&self, gpa: u64, pages: u64, to: Target) -> Result<u64, ConvertError> {
        let bad = || ConvertError::BadRange { gpa, pages };
        let len = pages.checked_mul(PAGE_SIZE).filter(|&l| l > 0).ok_or_else(bad)?;
        let end = gpa.checked_add(len).filter(|_| gpa.is_multiple_of(PAGE_SIZE)).ok_or_else(bad)?;
        if to == Target::Private && !self.memory.ram().contains(gpa, len) {
            return Err(ConvertError::NotRam { gpa, pages });
        }
        Ok(end)
    }

    /// How many pages changed. Parts outside RAM are no business of the kernel's: only what is RAM is asked for.
    fn convert_ram(&self, gpa: u64, end: u64, to: Target) -> io::Result<u64> {
        let mut changed: u64 = 0;
        for r in self.memory.ram().ranges() {
            let (start, end) = (gpa.max(r.start), end.min(r.end()));
            let Some(part) = end.checked_sub(start).filter(|&l| l > 0) else { continue };
            let done = match to {
                Target::Private => self.to_private(start, part)?,
                Target::Shared => self.to_shared(start, part)?,
            };
            changed = changed.saturating_add(done);
        }
        Ok(changed)
    }

    /// Private for our devices before the kernel hears of it: accesses in progress end first, and no later
    /// one can see what is about to go.
    fn to_private(&self, gpa: u64, len: u64) -> io::Result<u64> {
        if self.held.load(Ordering::Acquire) {
            for holder in self.holders.read().unwrap_or_else(|e| e.into_inner()).iter() {
                again(|| holder.let_go(gpa, len))?;
            }
        }
        let (before, changed) = {
            let mut privacy = self.privacy();
            // Nearly every range is all of one kind, a single page always: nothing to write down but that.
            let mixed = len > PAGE_SIZE && privacy.first_private(gpa, len).is_some();
            let before = mixed.then(|| privacy.shared_within(gpa, len));
            (before, privacy.set(gpa, len, true))
        };
        if let Err(error) = again(|| self.backing.set_private(gpa, len, true)) {
            // The kernel may have done a part of it. Where that cannot be undone, the page stays private; what
            // was private before does so anyway, with its contents.
            let whole = if changed == 0 { vec![] } else { vec![RamRange { start: gpa, size: len }] };
            for part in before.unwrap_or(whole) {
                if again(|| self.backing.set_private(part.start, part.size, false)).is_ok() {
                    self.privacy().set(part.start, part.size, false);
                }
            }
            return Err(error);
        }
        if self.backing.separate() {
            again(|| Ok(self.memory.ram().discard(gpa, len)?))?;
        }
        Ok(changed)
    }

    /// Shared for our devices only when the private side is gone.
    fn to_shared(&self, gpa: u64, len: u64) -> io::Result<u64> {
        again(|| self.backing.set_private(gpa, len, false))?;
        again(|| self.backing.discard_private(gpa, len))?;
        Ok(self.privacy().set(gpa, len, false))
    }

    /// The map, with no access of a device's in progress.
    fn privacy(&self) -> RwLockWriteGuard<'_, PrivacyMap> {
        self.memory.privacy().write().unwrap_or_else(|e| e.into_inner())
    }

    /// What has been counted so far.
    pub fn stats(&self) -> ConvertStats {
        let privacy = self.memory.privacy().read().unwrap_or_else(|e| e.into_inner());
        let private = privacy.private_pages().saturating_mul(PAGE_SIZE);
        self.claims.book(|record| record.stats(&self.clock, private, self.memory.ram().size()))
    }

    /// The last conversions, refused ones among them, the oldest first.
    pub fn timeline(&self) -> Vec<ConvertEvent> {
        self.claims.book(|record| record.timeline(&self.clock))
    }

    /// All RAM in runs of pages that are alike, and whether they have a private side that they are on.
    pub(super) fn sides(&self) -> Vec<(RamRange, bool)> {
        let privacy = self.memory.privacy().read().unwrap_or_else(|e| e.into_inner());
        let separate = self.backing.separate();
        privacy.runs().into_iter().map(|(range, private)| (range, private && separate)).collect()
    }

    /// Host memory that the guest holds now; none where the host cannot tell.
    pub fn host_memory(&self) -> Option<HostMemory> {
        Some(HostMemory { shared: resident(self.memory.ram().file())?, private: self.backing.held()? })
    }
}

/// Calls `f` until no signal interrupts it. A vCPU's thread is sent signals at any time, and a conversion
/// that was begun is finished.
fn again(mut f: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match f() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

impl std::fmt::Debug for Converter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Converter").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "convert_test.rs"]
mod tests;
