//! Ranges that are being converted: conversions of the same page wait for one another, others do not.

use std::sync::{Condvar, Mutex, MutexGuard};

/// The ranges under way, one for each vCPU at most.
#[derive(Debug, Default)]
pub(super) struct Claims {
    busy: Mutex<Busy>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Busy {
    /// First byte, and the one after the last.
    ranges: Vec<(u64, u64)>,
    /// Those who wait: to wake nobody takes a system call, too.
    waiting: usize,
}

/// A range that is ours until this is dropped.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    claims: &'a Claims,
    range: (u64, u64),
}

impl Claims {
    /// Waits until nobody else converts a page of `[start, end)`.
    pub(super) fn claim(&self, start: u64, end: u64) -> Claim<'_> {
        let mut busy = self.busy();
        while busy.ranges.iter().any(|&(from, to)| from < end && start < to) {
            busy.waiting = busy.waiting.saturating_add(1);
            busy = self.freed.wait(busy).unwrap_or_else(|e| e.into_inner());
            busy.waiting = busy.waiting.saturating_sub(1);
        }
        busy.ranges.push((start, end));
        Claim { claims: self, range: (start, end) }
    }

    fn busy(&self) -> MutexGuard<'_, Busy> {
        self.busy.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut busy = self.claims.busy();
        if let Some(at) = busy.ranges.iter().position(|range| *range == self.range) {
            busy.ranges.swap_remove(at);
        }
        let waited_for = busy.waiting > 0;
        drop(busy);
        if waited_for {
            self.claims.freed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn only_those_who_want_the_same_page_wait() {
        let claims = Claims::default();
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
            assert_eq!(claims.busy().ranges.len(), 1, "it cannot have it while we do");
            drop(held);
            assert_eq!(receiver.recv(), Ok("has it"));
        });
        let busy = claims.busy();
        assert!(busy.ranges.is_empty() && busy.waiting == 0);
    }
}
