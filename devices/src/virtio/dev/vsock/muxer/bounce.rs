//! Bytes from the guest that the host did not take yet.

use std::collections::{TryReserveError, VecDeque};

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

    /// Room for `more` bytes. False if that is more than there may be.
    pub(super) fn reserve(&mut self, more: usize) -> Result<bool, TryReserveError> {
        let want = self.bytes.len().saturating_add(more);
        if want > self.limit {
            return Ok(false);
        }
        if want > self.bytes.capacity() {
            // Doubling, but never beyond the limit.
            let capacity = want.checked_next_power_of_two().unwrap_or(want).min(self.limit);
            self.bytes.try_reserve_exact(capacity.saturating_sub(self.bytes.len()))?;
        }
        Ok(true)
    }

    /// Puts bytes at the end; [`Bounce::reserve`] comes first.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// The bytes at the front.
    pub(super) fn front(&self) -> &[u8] {
        match self.bytes.as_slices() {
            ([], second) => second,
            (first, _) => first,
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

    #[test]
    fn holds_up_to_its_limit_and_nothing_when_empty() {
        let mut bounce = Bounce::new(1000);
        assert_eq!(bounce.capacity(), 0);
        assert!(bounce.reserve(600).unwrap());
        bounce.push(&[1; 600]);
        assert!(!bounce.reserve(401).unwrap());
        assert!(bounce.reserve(400).unwrap());
        bounce.push(&[2; 400]);
        assert!(bounce.capacity() <= 1000);
        bounce.took(600);
        assert_eq!(bounce.front(), [2; 400]);
        assert!(bounce.reserve(500).unwrap());
        bounce.push(&[3; 500]);
        let mut all = Vec::new();
        while !bounce.is_empty() {
            let n = bounce.front().len().min(7);
            all.extend_from_slice(&bounce.front()[..n]);
            bounce.took(n);
        }
        assert_eq!(all, [[2; 400].as_slice(), &[3; 500]].concat());
        assert_eq!(bounce.capacity(), 0);
    }
}
