//! Moving bytes between a request's buffers and a file, without a copy of ours in between.

use std::io;

use cloister_coco::memory::SharedMemory;
use vm_memory::{VolatileMemoryError, VolatileSlice};

use super::cursor::Cursor;
use super::error::TransferError;

/// Calls `f` with host memory behind the next `max` bytes of `at`, piece by piece, until one comes back
/// short; `at` moves by what was transferred. The privacy lock is held, so `f` must not block.
pub(super) fn transfer(
    mem: &SharedMemory,
    at: &mut Cursor<'_>,
    max: usize,
    mut f: impl FnMut(&mut VolatileSlice<'_>) -> Result<usize, VolatileMemoryError>,
) -> Result<usize, TransferError> {
    let segments = at.segments(max);
    let (done, failed) = mem.with_slices(&segments, |slices| {
        let mut done = 0usize;
        for slice in slices {
            let mut slice = *slice;
            match f(&mut slice) {
                Ok(n) => {
                    done = done.saturating_add(n.min(slice.len()));
                    if n < slice.len() {
                        return (done, None);
                    }
                }
                Err(e) => return (done, Some(e)),
            }
        }
        (done, None)
    })?;
    at.skip(done);
    match failed {
        // What was transferred before the error must be told; the error comes again.
        Some(e) if done == 0 => Err(TransferError::Io { source: io_error(e) }),
        _ => Ok(done),
    }
}

fn io_error(e: VolatileMemoryError) -> io::Error {
    match e {
        VolatileMemoryError::IOError(e) => e,
        other => io::Error::other(other.to_string()),
    }
}
