//! A GetQuote buffer in the guest's shared memory, and its two states: what is checked when the guest
//! hands it over, and what is written when the quote has come. No threads and no sockets here.
//!
//! ```text
//! handed over ──checked──▶ in flight ──quote, or why there is none──▶ done
//! ```

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use std::sync::atomic::{AtomicU64, Ordering, fence};

use snafu::Snafu;
use vm_memory::{Bytes, VolatileMemory, VolatileSlice};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::memory::{AccessError, PAGE_SIZE, SharedMemory};
use crate::tdx::vmcall::TdvmcallStatus;

/// Largest buffer that is taken, in bytes (as QEMU has it); a quote has about 8 KiB.
pub const MAX_BUFFER: u64 = 128 << 10;

/// Version of the buffer's layout (GHCI, TDG.VP.VMCALL<GetQuote>).
const VERSION: u64 = 1;

/// Bytes before the data.
const HEADER: u64 = size_of::<Header>() as u64;
const STATUS: usize = 8;
const OUT_LEN: usize = 20;

/// The beginning of the buffer.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Header {
    version: u64,
    status: u64,
    in_len: u32,
    out_len: u32,
}

/// The status field of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferStatus(pub u64);

impl BufferStatus {
    /// The quote is there.
    pub const OK: Self = BufferStatus(0);
    /// It is being made.
    pub const IN_FLIGHT: Self = BufferStatus(u64::MAX);
    /// It could not be made.
    pub const ERROR: Self = BufferStatus(1 << 63);
    /// Nobody is there who makes quotes.
    pub const UNAVAILABLE: Self = BufferStatus(1 << 63 | 1);
}

/// A checked buffer whose guest waits for a quote. Where it is was checked once, and is again at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuoteBuffer {
    gpa: u64,
    size: u64,
}

/// A quote for which the buffer has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Snafu)]
#[snafu(display("a quote of {len} bytes for a buffer with room for {room}"))]
pub struct NoRoom {
    len: usize,
    room: usize,
}

/// Why the end of a request was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Snafu)]
pub enum FinishError {
    /// The guest took the memory back.
    #[snafu(display("the guest's quote buffer is no shared memory any more: {source}"))]
    Gone {
        /// What the memory says.
        source: AccessError,
    },
    /// The quote is too long; the guest was told that there is none.
    #[snafu(display("{source}"), context(false))]
    Room {
        /// By how much.
        source: NoRoom,
    },
}

impl QuoteBuffer {
    /// Checks a buffer and reads the TDREPORT out of it, as the guest gave it. Each of the guest's values is
    /// read once; the error is what the guest is to be told. KVM has stripped the shared bit from `gpa`.
    pub fn take(memory: &SharedMemory, gpa: u64, size: u64) -> Result<(Self, Vec<u8>), TdvmcallStatus> {
        let invalid = TdvmcallStatus::INVALID_OPERAND;
        if size == 0 {
            return Err(invalid);
        }
        if !gpa.is_multiple_of(PAGE_SIZE) || !size.is_multiple_of(PAGE_SIZE) {
            return Err(TdvmcallStatus::ALIGN_ERROR);
        }
        if size > MAX_BUFFER {
            return Err(invalid);
        }
        memory.check(gpa, size).map_err(|_| invalid)?;
        let header: Header = memory.read_obj(gpa).map_err(|_| invalid)?;
        let room = size.checked_sub(HEADER).ok_or(invalid)?;
        if header.version != VERSION || u64::from(header.in_len) > room {
            return Err(invalid);
        }
        let mut report = vec![0; usize::try_from(header.in_len).map_err(|_| invalid)?];
        let data = gpa.checked_add(HEADER).ok_or(invalid)?;
        memory.read(data, &mut report).map_err(|_| invalid)?;
        Ok((QuoteBuffer { gpa, size }, report))
    }

    /// Longest quote that fits, in bytes.
    pub fn room(self) -> usize {
        usize::try_from(self.size.saturating_sub(HEADER)).unwrap_or(0)
    }

    /// Says in the buffer how things stand, without a quote.
    pub fn mark(self, memory: &SharedMemory, status: BufferStatus) -> Result<(), AccessError> {
        self.write(memory, status, &[])
    }

    /// Writes the quote, then its length, then that it is there.
    pub fn finish(self, memory: &SharedMemory, quote: &[u8]) -> Result<(), FinishError> {
        let gone = |source| FinishError::Gone { source };
        if quote.len() > self.room() {
            self.mark(memory, BufferStatus::ERROR).map_err(gone)?;
            return Err(NoRoom { len: quote.len(), room: self.room() }.into());
        }
        self.write(memory, BufferStatus::OK, quote).map_err(gone)
    }

    /// Writes data, length and status while the whole range is known to be shared RAM: the lock that a
    /// conversion takes is held all the time.
    fn write(self, memory: &SharedMemory, status: BufferStatus, data: &[u8]) -> Result<(), AccessError> {
        let size = u32::try_from(self.size).unwrap_or(u32::MAX);
        let unfit = AccessError::NotRam { gpa: self.gpa, len: self.size };
        memory.with_slices(&[(self.gpa, size)], |slices| {
            slices.first().and_then(|buffer| put(buffer, status, data)).ok_or(unfit)
        })?
    }
}

fn put(buffer: &VolatileSlice<'_>, status: BufferStatus, data: &[u8]) -> Option<()> {
    let len = u32::try_from(data.len()).ok()?;
    buffer.write_slice(data, size_of::<Header>()).ok()?;
    buffer.write_slice(&len.to_le_bytes(), OUT_LEN).ok()?;
    // The guest polls the status on another vCPU: what it says must be there before it.
    fence(Ordering::Release);
    buffer.get_atomic_ref::<AtomicU64>(STATUS).ok()?.store(status.0.to_le(), Ordering::Release);
    Some(())
}

const _: () = {
    assert!(size_of::<Header>() == 24);
    assert!(std::mem::offset_of!(Header, status) == STATUS);
    assert!(std::mem::offset_of!(Header, out_len) == OUT_LEN);
};

#[cfg(test)]
mod tests;
