//! Reads what the driver put into a request.

use cloister_coco::memory::SharedMemory;
use vm_memory::WriteVolatile;
use zerocopy::{FromBytes, IntoBytes};

use super::Segment;
use super::access::transfer;
use super::cursor::Cursor;
use super::error::TransferError;

/// Reads the device-readable bytes of a request in order, wherever their segments end. Each byte is
/// read from guest memory once.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    mem: &'a SharedMemory,
    at: Cursor<'a>,
}

impl<'a> Reader<'a> {
    /// A reader over `segments`.
    pub fn new(mem: &'a SharedMemory, segments: &'a [Segment]) -> Self {
        Reader { mem, at: Cursor::new(segments) }
    }

    /// Bytes not yet read.
    pub fn remaining(&self) -> usize {
        self.at.remaining()
    }

    /// Fills `buf`, or reads nothing and fails where fewer bytes remain.
    pub fn read_exact(&mut self, buf: &mut [u8]) -> Result<(), TransferError> {
        let (wanted, remaining) = (buf.len(), self.remaining());
        if wanted > remaining {
            return Err(TransferError::Short { wanted, remaining });
        }
        let mut rest = buf;
        while let Some((gpa, len)) = self.at.next(rest.len()) {
            let Some((piece, after)) = rest.split_at_mut_checked(len as usize) else { break };
            self.mem.read(gpa, piece)?;
            rest = after;
        }
        Ok(())
    }

    /// Reads a plain value.
    pub fn read_obj<T: FromBytes + IntoBytes>(&mut self) -> Result<T, TransferError> {
        let mut value = T::new_zeroed();
        self.read_exact(value.as_mut_bytes())?;
        Ok(value)
    }

    /// Passes over `n` bytes, or as many as there are; says how many.
    pub fn skip(&mut self, n: usize) -> usize {
        self.at.skip(n)
    }

    /// Splits off the next `n` bytes as a reader of their own; this one goes on after them.
    pub fn split_off_front(&mut self, n: usize) -> Result<Reader<'a>, TransferError> {
        let remaining = self.remaining();
        let at = self.at.split(n).ok_or(TransferError::Short { wanted: n, remaining })?;
        Ok(Reader { mem: self.mem, at })
    }

    /// The next `max` bytes as segments, for [`SharedMemory::with_slices`]; [`Reader::skip`] what was
    /// taken.
    pub fn segments(&self, max: usize) -> Vec<Segment> {
        self.at.segments(max)
    }

    /// Writes up to `max` bytes to `out` (a non-blocking file) straight from guest memory. Stops where
    /// `out` takes no more; an error of `out` comes out only if it took nothing, WouldBlock included.
    pub fn write_to<W: WriteVolatile>(&mut self, out: &mut W, max: usize) -> Result<usize, TransferError> {
        transfer(self.mem, &mut self.at, max, |slice| out.write_volatile(slice))
    }
}
