//! What the entropy device has done.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::limit::LogLimit;

/// Counters of one entropy device.
#[derive(Debug, Default)]
pub struct RngCounters {
    requests: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicU64,
    /// What is said of the device, before and after resets.
    pub(super) log: LogLimit,
}

/// A copy of [`RngCounters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RngStats {
    /// Requests answered with entropy.
    pub requests: u64,
    /// Bytes of entropy given to the guest.
    pub bytes: u64,
    /// Requests given back empty: nothing to write to, memory that turned private, no entropy.
    pub failed: u64,
}

impl RngCounters {
    /// What has been counted so far.
    pub fn stats(&self) -> RngStats {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        RngStats { requests: get(&self.requests), bytes: get(&self.bytes), failed: get(&self.failed) }
    }

    pub(super) fn answered(&self, bytes: u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}
