//! What a queue has seen.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::limit::LogLimit;

/// Counters of one queue; they outlive resets, and are read while the worker counts.
#[derive(Debug, Default)]
pub struct QueueCounters {
    pub(super) requests: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) completions: AtomicU64,
    pub(super) interrupts: AtomicU64,
    /// What is said of the queue's requests, before and after resets.
    pub(super) log: LogLimit,
}

/// A copy of [`QueueCounters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueStats {
    /// Requests taken from the ring and given to the device.
    pub requests: u64,
    /// Requests that were malformed or not in shared memory, completed with length 0.
    pub malformed: u64,
    /// Requests completed, the malformed ones included.
    pub completions: u64,
    /// Times that an interrupt was called for.
    pub interrupts: u64,
}

impl QueueCounters {
    /// What has been counted so far.
    pub fn stats(&self) -> QueueStats {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        QueueStats {
            requests: get(&self.requests),
            malformed: get(&self.malformed),
            completions: get(&self.completions),
            interrupts: get(&self.interrupts),
        }
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
