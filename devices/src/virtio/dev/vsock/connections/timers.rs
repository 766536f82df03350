//! Deadlines: one per thing, the earliest first.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// `now` and then `wait`, or for ever if there is no such time.
pub(in super::super) fn after(now: Instant, wait: Duration) -> Option<Instant> {
    now.checked_add(wait)
}

/// At most one deadline for every key.
#[derive(Debug)]
pub(in super::super) struct Timers<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_key: HashMap<K, Instant>,
}

impl<K: Copy + Ord + Hash> Timers<K> {
    /// None set.
    pub(in super::super) fn new() -> Self {
        Timers { by_time: BTreeSet::new(), by_key: HashMap::new() }
    }

    /// Sets the deadline of `key`, or takes it away.
    pub(in super::super) fn set(&mut self, key: K, deadline: Option<Instant>) {
        if self.by_key.get(&key).copied() == deadline {
            return;
        }
        let old = match deadline {
            Some(at) => self.by_key.insert(key, at),
            None => self.by_key.remove(&key),
        };
        if let Some(old) = old {
            self.by_time.remove(&(old, key));
        }
        if let Some(at) = deadline {
            self.by_time.insert((at, key));
        }
    }

    /// The earliest deadline.
    pub(in super::super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes the earliest of those that have passed.
    pub(in super::super) fn pop(&mut self, now: Instant) -> Option<K> {
        let &(at, key) = self.by_time.first().filter(|(at, _)| *at <= now)?;
        self.by_time.remove(&(at, key));
        self.by_key.remove(&key);
        Some(key)
    }

    /// Takes all away.
    pub(in super::super) fn clear(&mut self) {
        self.by_time.clear();
        self.by_key.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_one_key_has_one_deadline() {
        let t0 = Instant::now();
        let at = |ms| t0 + Duration::from_millis(ms);
        let mut timers = Timers::new();
        timers.set(1, Some(at(30)));
        timers.set(2, Some(at(20)));
        timers.set(1, Some(at(10)));
        timers.set(3, Some(at(5)));
        timers.set(3, None);
        timers.set(4, None);
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.pop(at(9)), None);
        assert_eq!(timers.pop(at(25)), Some(1));
        assert_eq!(timers.pop(at(25)), Some(2));
        assert_eq!(timers.pop(at(25)), None);
        assert_eq!(timers.next(), None);
        timers.set(5, Some(at(1)));
        timers.clear();
        assert_eq!(timers.pop(at(99)), None);
    }
}
