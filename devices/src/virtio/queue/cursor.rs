//! A place in a list of buffers.

use super::Segment;

/// Goes through segments piece by piece, up to a limit of bytes.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    segments: &'a [Segment],
    /// Bytes of the first segment that are behind us.
    offset: u32,
    /// Bytes ahead of us, at most those of `segments`.
    remaining: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(segments: &'a [Segment]) -> Self {
        let remaining = segments.iter().fold(0usize, |sum, &(_, len)| sum.saturating_add(len as usize));
        Cursor { segments, offset: 0, remaining }
    }

    pub(super) fn remaining(&self) -> usize {
        self.remaining
    }

    /// The next contiguous piece of at most `max` bytes, without going past it.
    fn peek(&self, max: usize) -> Option<Segment> {
        let &(gpa, len) = self.segments.first()?;
        let left = len.saturating_sub(self.offset);
        let cap = u32::try_from(max.min(self.remaining)).unwrap_or(u32::MAX);
        let len = left.min(cap);
        (len > 0).then(|| (gpa.saturating_add(u64::from(self.offset)), len))
    }

    /// The next contiguous piece of at most `max` bytes, and past it.
    pub(super) fn next(&mut self, max: usize) -> Option<Segment> {
        let (gpa, len) = self.peek(max)?;
        self.offset = self.offset.saturating_add(len);
        self.remaining = self.remaining.saturating_sub(len as usize);
        if self.segments.first().is_some_and(|&(_, whole)| self.offset >= whole) {
            self.segments = self.segments.get(1..).unwrap_or_default();
            self.offset = 0;
        }
        Some((gpa, len))
    }

    /// Goes `n` bytes ahead, or to the end; says how far it went.
    pub(super) fn skip(&mut self, n: usize) -> usize {
        let before = self.remaining;
        let mut left = n;
        while let Some((_, len)) = self.next(left) {
            left = left.saturating_sub(len as usize);
        }
        before.saturating_sub(self.remaining)
    }

    /// Splits off the next `n` bytes as a cursor of their own; `self` goes on after them. `None`, and
    /// nothing happens, if there are fewer.
    pub(super) fn split(&mut self, n: usize) -> Option<Cursor<'a>> {
        if n > self.remaining {
            return None;
        }
        let front = Cursor { remaining: n, ..self.clone() };
        self.skip(n);
        Some(front)
    }

    /// The next `max` bytes as segments.
    pub(super) fn segments(&self, max: usize) -> Vec<Segment> {
        let mut at = self.clone();
        let mut left = max;
        let mut list = Vec::with_capacity(self.segments.len());
        while let Some(piece) = at.next(left) {
            left = left.saturating_sub(piece.1 as usize);
            list.push(piece);
        }
        list
    }
}
