//! One request: its buffers, copied out of the ring and checked.

use cloister_coco::memory::SharedMemory;

use super::{Reader, Writer};

/// A buffer: guest-physical address and length. The form that
/// [`SharedMemory::with_slices`] takes for vectored I/O.
pub type Segment = (u64, u32);

/// A request as it was when it was taken from the ring; what the guest does to its descriptors
/// afterwards changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    head: u16,
    segments: Vec<Segment>,
    /// How many of `segments`, from the front, are device-readable.
    split: usize,
    readable_len: u32,
    writable_len: u32,
}

impl Chain {
    pub(super) fn new(head: u16, segments: Vec<Segment>, split: usize) -> Self {
        let split = split.min(segments.len());
        let sum = |s: &[Segment]| s.iter().fold(0u32, |sum, &(_, len)| sum.saturating_add(len));
        let (readable, writable) = segments.split_at_checked(split).unwrap_or_default();
        let (readable_len, writable_len) = (sum(readable), sum(writable));
        Chain { head, segments, split, readable_len, writable_len }
    }

    /// The index by which the request is completed ([`super::Queue::push_used`]).
    pub fn head(&self) -> u16 {
        self.head
    }

    /// The buffers that the device reads. They come before the writable ones.
    pub fn readable(&self) -> &[Segment] {
        self.segments.get(..self.split).unwrap_or_default()
    }

    /// The buffers that the device writes.
    pub fn writable(&self) -> &[Segment] {
        self.segments.get(self.split..).unwrap_or_default()
    }

    /// Bytes to read, in all.
    pub fn readable_len(&self) -> usize {
        self.readable_len as usize
    }

    /// Bytes that may be written, in all.
    pub fn writable_len(&self) -> usize {
        self.writable_len as usize
    }

    /// A reader from the first readable byte on.
    pub fn reader<'a>(&'a self, mem: &'a SharedMemory) -> Reader<'a> {
        Reader::new(mem, self.readable())
    }

    /// A writer from the first writable byte on.
    pub fn writer<'a>(&'a self, mem: &'a SharedMemory) -> Writer<'a> {
        Writer::new(mem, self.writable())
    }
}
