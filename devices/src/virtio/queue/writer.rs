//! Writes the device's answer into a request.

use cloister_coco::memory::SharedMemory;
use vm_memory::ReadVolatile;
use zerocopy::{Immutable, IntoBytes};

use super::Segment;
use super::access::transfer;
use super::cursor::Cursor;
use super::error::TransferError;

/// Writes the device-writable bytes of a request in order, wherever their segments end.
#[derive(Debug, Clone)]
pub struct Writer<'a> {
    mem: &'a SharedMemory,
    at: Cursor<'a>,
    written: usize,
}

impl<'a> Writer<'a> {
    /// A writer over `segments`.
    pub fn new(mem: &'a SharedMemory, segments: &'a [Segment]) -> Self {
        Writer { mem, at: Cursor::new(segments), written: 0 }
    }

    /// Bytes that may still be written.
    pub fn remaining(&self) -> usize {
        self.at.remaining()
    }

    /// Bytes written so far through this writer; those of a writer split off are not counted here.
    pub fn written(&self) -> usize {
        self.written
    }

    /// Writes all of `buf`, or nothing and fails where it does not fit.
    pub fn write_all(&mut self, buf: &[u8]) -> Result<(), TransferError> {
        let (wanted, remaining) = (buf.len(), self.remaining());
        if wanted > remaining {
            return Err(TransferError::Short { wanted, remaining });
        }
        let mut rest = buf;
        while let Some((gpa, len)) = self.at.next(rest.len()) {
            let Some((piece, after)) = rest.split_at_checked(len as usize) else { break };
            self.mem.write(gpa, piece)?;
            self.written = self.written.saturating_add(piece.len());
            rest = after;
        }
        Ok(())
    }

    /// Writes a plain value.
    pub fn write_obj<T: IntoBytes + Immutable>(&mut self, value: &T) -> Result<(), TransferError> {
        self.write_all(value.as_bytes())
    }

    /// Splits off the next `n` bytes as a writer of their own, to be filled later or earlier than what
    /// comes after them; this one goes on after them.
    pub fn split_off_front(&mut self, n: usize) -> Result<Writer<'a>, TransferError> {
        let remaining = self.remaining();
        let at = self.at.split(n).ok_or(TransferError::Short { wanted: n, remaining })?;
        Ok(Writer { mem: self.mem, at, written: 0 })
    }

    /// The next `max` bytes as segments, for [`SharedMemory::with_slices`]; [`Writer::advance`] by what
    /// was written.
    pub fn segments(&self, max: usize) -> Vec<Segment> {
        self.at.segments(max)
    }

    /// Counts `n` bytes as written that were written by other means; says how many there were to count.
    pub fn advance(&mut self, n: usize) -> usize {
        let n = self.at.skip(n);
        self.written = self.written.saturating_add(n);
        n
    }

    /// Reads up to `max` bytes from `from` (a non-blocking file) straight into guest memory. Stops where
    /// `from` has no more (0: end of file, or `max` was 0); an error of `from` comes out only if nothing
    /// was read, WouldBlock included.
    pub fn read_from<R: ReadVolatile>(&mut self, from: &mut R, max: usize) -> Result<usize, TransferError> {
        let n = transfer(self.mem, &mut self.at, max, |slice| from.read_volatile(slice))?;
        self.written = self.written.saturating_add(n);
        Ok(n)
    }
}
