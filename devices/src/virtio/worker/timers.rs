//! Deadlines, each under a key.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// A set of deadlines with at most one for each key.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Instant, u64)>,
    by_key: HashMap<u64, Instant>,
}

impl Timers {
    /// Sets `key`'s deadline, instead of one that it may have.
    pub(super) fn set(&mut self, key: u64, deadline: Instant) {
        self.cancel(key);
        self.by_key.insert(key, deadline);
        self.by_time.insert((deadline, key));
    }

    /// Forgets `key`'s deadline; says whether there was one.
    pub(super) fn cancel(&mut self, key: u64) -> bool {
        let Some(deadline) = self.by_key.remove(&key) else { return false };
        self.by_time.remove(&(deadline, key))
    }

    /// How many are set.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// How long until the next deadline.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        self.by_time.first().map(|(t, _)| t.saturating_duration_since(now))
    }

    /// Takes the earliest deadline if `now` has reached it.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<u64> {
        let &(deadline, key) = self.by_time.first().filter(|(t, _)| *t <= now)?;
        self.by_time.remove(&(deadline, key));
        self.by_key.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_and_a_new_one_replaces_the_old() {
        let t = Instant::now();
        let at = |ms| t + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.set(1, at(30));
        timers.set(2, at(20));
        timers.set(1, at(10));
        timers.set(3, at(20));
        assert!(timers.cancel(3));
        assert!(!timers.cancel(3));
        assert_eq!(timers.wait(t), Some(Duration::from_millis(10)));
        assert_eq!(timers.take_due(t), None);
        assert_eq!(timers.take_due(at(25)), Some(1));
        assert_eq!(timers.take_due(at(25)), Some(2));
        assert_eq!(timers.take_due(at(99)), None);
        assert_eq!(timers.wait(at(99)), None);
    }
}
