//! MSI-X: the table that the guest fills, and what becomes of an interrupt (PCI Local Bus 3.0 §6.8.2).

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::config::{ConfigSpace, LayoutError};
use super::spec::{
    CAP_MSIX, MSIX_ENABLE, MSIX_ENTRY_SIZE, MSIX_FUNCTION_MASK, MSIX_MAX_VECTORS, MSIX_VECTOR_MASK,
};
use crate::irq::{MsiAllocator, MsiMessage, MsiVector};
use crate::limit::LogLimit;

/// The MSI-X vectors of one function. Workers trigger them from any thread; none waits for the function.
pub struct Msix {
    vectors: Vec<Arc<dyn MsiVector>>,
    state: Mutex<State>,
    counters: MsixCounters,
    log: LogLimit,
}

#[derive(Debug, Default)]
struct State {
    enabled: bool,
    function_masked: bool,
    entries: Vec<Entry>,
}

/// An entry of the table, and what is not in it.
#[derive(Debug, Default, Clone)]
struct Entry {
    /// Address (low, high), data, vector control.
    words: [u32; 4],
    pending: bool,
    programmed: Option<MsiMessage>,
}

/// What has become of a function's interrupts.
#[derive(Debug, Default)]
pub struct MsixCounters {
    triggered: AtomicU64,
    pended: AtomicU64,
    failed: AtomicU64,
}

/// A copy of [`MsixCounters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MsixStats {
    /// Interrupts made.
    pub triggered: u64,
    /// Interrupts kept until their vector is unmasked.
    pub pended: u64,
    /// Vectors that could not be programmed or triggered.
    pub failed: u64,
}

impl Msix {
    /// `count` vectors from `allocator`, all masked, MSI-X off.
    pub fn new(allocator: &dyn MsiAllocator, count: u16) -> io::Result<Self> {
        if count == 0 || count > MSIX_MAX_VECTORS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let vectors = allocator.allocate(count)?;
        if vectors.len() != usize::from(count) {
            return Err(io::Error::other("fewer interrupt vectors than asked for"));
        }
        let masked = Entry { words: [0, 0, 0, MSIX_VECTOR_MASK], ..Entry::default() };
        let state = State { entries: vec![masked; usize::from(count)], ..State::default() };
        Ok(Msix {
            vectors,
            state: Mutex::new(state),
            counters: MsixCounters::default(),
            log: LogLimit::default(),
        })
    }

    /// Number of vectors.
    pub fn count(&self) -> u16 {
        u16::try_from(self.vectors.len()).unwrap_or(MSIX_MAX_VECTORS)
    }

    /// What has become of the interrupts so far.
    pub fn stats(&self) -> MsixStats {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        MsixStats {
            triggered: get(&self.counters.triggered),
            pended: get(&self.counters.pended),
            failed: get(&self.counters.failed),
        }
    }

    /// Adds the capability that says that table and pending bits are in `bar` at these offsets. Gives its
    /// offset, for [`Msix::config_written`].
    pub fn add_capability(
        &self,
        space: &mut ConfigSpace,
        bar: u8,
        table: u32,
        pending: u32,
    ) -> Result<u16, LayoutError> {
        let size = self.count().saturating_sub(1).to_le_bytes();
        let [t, p] = [table, pending].map(|offset| ((offset & !7) | u32::from(bar)).to_le_bytes());
        let body = [&size[..], &t[..], &p[..]].concat();
        space.add_capability(CAP_MSIX, &body, &(MSIX_ENABLE | MSIX_FUNCTION_MASK).to_le_bytes())
    }

    /// Configuration space was written: takes over message control from the capability at `capability`.
    pub fn config_written(&self, space: &ConfigSpace, capability: u16) {
        let control = space.u16(capability.saturating_add(2));
        let mut state = self.lock();
        let enabled = control & MSIX_ENABLE != 0;
        let function_masked = control & MSIX_FUNCTION_MASK != 0;
        if (enabled, function_masked) == (state.enabled, state.function_masked) {
            return;
        }
        (state.enabled, state.function_masked) = (enabled, function_masked);
        for index in 0..state.entries.len() {
            self.update(&mut state, index);
        }
    }

    /// Interrupts, or remembers to while the vector is masked. Without MSI-X nothing happens.
    pub fn trigger(&self, vector: u16) {
        let mut state = self.lock();
        if !state.enabled {
            return;
        }
        let Some(entry) = state.entries.get_mut(usize::from(vector)) else { return };
        if entry.programmed.is_some() {
            self.fire(usize::from(vector));
        } else {
            entry.pending = true;
            self.counters.pended.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The guest reads the table.
    pub fn table_read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let state = self.lock();
        for (at, byte) in (offset..=u64::MAX).zip(data) {
            let Some((index, word, shift)) = locate(at) else { continue };
            let value = state.entries.get(index).and_then(|e| e.words.get(word));
            *byte = value.map_or(0, |w| w.to_le_bytes().get(shift).copied().unwrap_or(0));
        }
    }

    /// The guest writes the table: whole 32-bit words, one or two of them (§6.8.2).
    pub fn table_write(&self, offset: u64, data: &[u8]) {
        if !offset.is_multiple_of(4) || !matches!(data.len(), 4 | 8) {
            return;
        }
        let mut state = self.lock();
        for (at, part) in (offset..=u64::MAX).step_by(4).zip(data.chunks_exact(4)) {
            let (Some((index, word, _)), Ok(bytes)) = (locate(at), part.try_into()) else { continue };
            let value = u32::from_le_bytes(bytes);
            let Some(entry) = state.entries.get_mut(index) else { continue };
            match word {
                // Addresses are of 32-bit words; of vector control, only the mask bit is there.
                0 => entry.words[0] = value & !3,
                1 => entry.words[1] = value,
                2 => entry.words[2] = value,
                _ => entry.words[3] = value & MSIX_VECTOR_MASK,
            }
            self.update(&mut state, index);
        }
    }

    /// The guest reads the pending bits.
    pub fn pending_read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let state = self.lock();
        for (at, byte) in (offset..=u64::MAX).zip(data) {
            let first = usize::try_from(at.saturating_mul(8)).unwrap_or(usize::MAX);
            let entries = state.entries.get(first..).unwrap_or_default();
            *byte = entries.iter().take(8).rev().fold(0, |bits, e| bits << 1 | u8::from(e.pending));
        }
    }

    /// After a change: tells the board what the vector now is, and fires what waited for it.
    fn update(&self, state: &mut State, index: usize) {
        let live = state.enabled && !state.function_masked;
        let (Some(entry), Some(vector)) = (state.entries.get_mut(index), self.vectors.get(index)) else {
            return;
        };
        let [low, high, data, control] = entry.words;
        let message = MsiMessage { address: u64::from(high) << 32 | u64::from(low), data };
        let wanted = (live && control & MSIX_VECTOR_MASK == 0).then_some(message);
        if !state.enabled {
            entry.pending = false;
        }
        if wanted != entry.programmed {
            match vector.program(wanted) {
                Ok(()) => entry.programmed = wanted,
                Err(e) => {
                    // The guest chose the message; until it chooses a better one, interrupts wait.
                    entry.programmed = None;
                    self.failed("program", index, &e);
                }
            }
        }
        if entry.programmed.is_some() && std::mem::take(&mut entry.pending) {
            self.fire(index);
        }
    }

    fn fire(&self, index: usize) {
        match self.vectors.get(index).map(|v| v.trigger()) {
            Some(Ok(())) => {
                self.counters.triggered.fetch_add(1, Ordering::Relaxed);
            }
            Some(Err(e)) => self.failed("trigger", index, &e),
            None => {}
        }
    }

    fn failed(&self, what: &str, index: usize, e: &io::Error) {
        self.counters.failed.fetch_add(1, Ordering::Relaxed);
        if let Some(suppressed) = self.log.allow() {
            tracing::warn!(suppressed, "cannot {what} MSI-X vector {index}: {e}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl std::fmt::Debug for Msix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Msix").field("state", &*self.lock()).finish_non_exhaustive()
    }
}

/// Entry, word and byte that an offset into the table means.
fn locate(offset: u64) -> Option<(usize, usize, usize)> {
    let index = usize::try_from(offset.checked_div(MSIX_ENTRY_SIZE)?).ok()?;
    let word = usize::try_from((offset >> 2) & 3).ok()?;
    let byte = usize::try_from(offset & 3).ok()?;
    Some((index, word, byte))
}
