//! Bytes from the guest that the host did not take yet.

use std::collections::VecDeque;

use crate::virtio::queue::Reader;

/// Bytes copied at a time.
const COPY: usize = 4096;

/// A queue of bytes that takes memory only while there are any, and never more than its limit.
///
/// The limit is the credit that the guest was given, which is checked before anything gets here.
#[derive(Debug)]
pub(super) struct Bounce {
    bytes: VecDeque<u8>,
    limit: usize,
}

impl Bounce {
    /// Empty, and without memory.
    pub(super) fn new(limit: usize) -> Self {
        Bounce { bytes: VecDeque::new(), limit }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Room for `more` bytes, if there may be so many and there is memory for them.
    fn reserve(&mut self, more: usize) -> bool {
        let want = self.bytes.len().saturating_add(more);
        if want <= self.bytes.capacity() {
            return want <= self.limit;
        }
        // Doubling, but never beyond the limit.
        let capacity = want.checked_next_power_of_two().unwrap_or(want).min(self.limit);
        want <= self.limit && self.bytes.try_reserve_exact(capacity.saturating_sub(self.bytes.len())).is_ok()
    }

    /// Copies the next `len` bytes of `from`. False if they cannot be read or kept.
    pub(super) fn fill(&mut self, from: &mut Reader<'_>, len: usize) -> bool {
        if len == 0 {
            return true;
        }
        if !self.reserve(len) {
            return false;
        }
        let mut chunk = [0; COPY];
        let mut left = len;
        while left > 0 {
            let Some(chunk) = chunk.get_mut(..left.min(COPY)) else { return false };
            if from.read_exact(chunk).is_err() {
                return false;
            }
            self.bytes.extend(&*chunk);
            left = left.saturating_sub(chunk.len());
        }
        true
    }

    /// The bytes at the front.
    pub(super) fn front(&self) -> &[u8] {
        match self.bytes.as_slices() {
            ([], second) => second,
            (first, _) => first,
        }
    }

    /// The first `len` bytes, in two parts.
    pub(super) fn front_of(&self, len: usize) -> (&[u8], &[u8]) {
        let (first, second) = self.bytes.as_slices();
        match first.get(..len) {
            Some(all) => (all, &[]),
            None => (first, second.get(..len.saturating_sub(first.len())).unwrap_or(second)),
        }
    }

    /// The host took `n` bytes. The last one gives the memory back.
    pub(super) fn took(&mut self, n: usize) {
        self.bytes.drain(..n.min(self.bytes.len()));
        if self.bytes.is_empty() {
            self.bytes = VecDeque::new();
        }
    }

    /// Nobody will take them.
    pub(super) fn discard(&mut self) {
        self.bytes = VecDeque::new();
    }

    /// Bytes of memory held.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloister_coco::memory::SharedMemory;

    #[test]
    fn holds_up_to_its_limit_and_nothing_when_empty() {
        let mem = SharedMemory::for_test(0x2000);
        let fill = |bounce: &mut Bounce, byte: u8, len: u32| {
            mem.write(0, &vec![byte; len as usize]).unwrap();
            bounce.fill(&mut Reader::new(&mem, &[(0, 7), (7, len - 7)]), len as usize)
        };
        let mut bounce = Bounce::new(5000);
        assert_eq!(bounce.capacity(), 0);
        assert!(fill(&mut bounce, 1, 4600));
        assert!(!fill(&mut bounce, 9, 401));
        assert!(fill(&mut bounce, 2, 400));
        assert!(bounce.capacity() <= 5000);
        bounce.took(4600);
        assert_eq!(bounce.front_of(300), (&[2; 300][..], &[][..]));
        assert!(fill(&mut bounce, 3, 500));
        let (first, second) = bounce.front_of(900);
        assert_eq!([first, second].concat(), [[2; 400].as_slice(), &[3; 500]].concat());
        let mut all = Vec::new();
        while !bounce.is_empty() {
            let n = bounce.front().len().min(7);
            all.extend_from_slice(&bounce.front()[..n]);
            bounce.took(n);
        }
        assert_eq!(all, [[2; 400].as_slice(), &[3; 500]].concat());
        assert_eq!(bounce.capacity(), 0);
        let mut short = Reader::new(&mem, &[(0, 7)]);
        assert!(!bounce.fill(&mut short, 8), "bytes that are not there");
    }
}
