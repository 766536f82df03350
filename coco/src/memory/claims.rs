//! Ranges that are being converted: conversions of the same page wait for one another, others do not.
//! What is written down of each is under the same lock, so that a conversion takes it twice and no more.

use std::sync::{Condvar, Mutex, MutexGuard};

/// The ranges under way, one for each vCPU at most, and the book `T` in which their ends are written.
#[derive(Debug, Default)]
pub(super) struct Claims<T> {
    inner: Mutex<Inner<T>>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Inner<T> {
    /// First byte, and the one after the last.
    ranges: Vec<(u64, u64)>,
    /// Those who wait: to wake nobody takes a system call, too.
    waiting: usize,
    book: T,
}

/// A range that is ours until this is dropped.
#[derive(Debug)]
pub(super) struct Claim<'a, T> {
    claims: &'a Claims<T>,
    range: (u64, u64),
}

impl<T> Claims<T> {
    /// Waits until nobody else converts a page of `[start, end)`.
    pub(super) fn claim(&self, start: u64, end: u64) -> Claim<'_, T> {
        let mut inner = self.inner();
        while inner.ranges.iter().any(|&(from, to)| from < end && start < to) {
            inner.waiting = inner.waiting.saturating_add(1);
            inner = self.freed.wait(inner).unwrap_or_else(|e| e.into_inner());
            inner.waiting = inner.waiting.saturating_sub(1);
        }
        inner.ranges.push((start, end));
        Claim { claims: self, range: (start, end) }
    }

    /// A look into the book, or a line in it that belongs to no claim.
    pub(super) fn book<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.inner().book)
    }

    fn inner(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn give_back(&self, range: (u64, u64), write: impl FnOnce(&mut T)) {
        let mut inner = self.inner();
        write(&mut inner.book);
        if let Some(at) = inner.ranges.iter().position(|other| *other == range) {
            inner.ranges.swap_remove(at);
        }
        let waited_for = inner.waiting > 0;
        drop(inner);
        if waited_for {
            self.freed.notify_all();
        }
    }
}

impl<T> Claim<'_, T> {
    /// Gives the range back, with a line in the book.
    pub(super) fn end(self, write: impl FnOnce(&mut T)) {
        self.claims.give_back(self.range, write);
        std::mem::forget(self);
    }
}

impl<T> Drop for Claim<'_, T> {
    fn drop(&mut self) {
        self.claims.give_back(self.range, |_| ());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn only_those_who_want_the_same_page_wait() {
        let claims = Claims::<u32>::default();
        let held = claims.claim(0x1000, 0x3000);
        drop(claims.claim(0, 0x1000));
        drop(claims.claim(0x3000, u64::MAX));
        std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            let claims = &claims;
            scope.spawn(move || {
                sender.send("asks").unwrap();
                let _claim = claims.claim(0x2000, 0x4000);
                sender.send("has it").unwrap();
            });
            assert_eq!(receiver.recv(), Ok("asks"));
            assert_eq!(claims.inner().ranges.len(), 1, "it cannot have it while we do");
            held.end(|book| *book += 1);
            assert_eq!(receiver.recv(), Ok("has it"));
        });
        let inner = claims.inner();
        assert!(inner.ranges.is_empty() && inner.waiting == 0);
        assert_eq!(inner.book, 1);
    }
}
