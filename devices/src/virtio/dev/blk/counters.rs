//! What a block device has done.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::limit::LogLimit;

/// Counters of one block device.
#[derive(Debug, Default)]
pub struct BlkCounters {
    requests: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicU64,
    /// What is said of the device, before and after resets.
    pub(super) log: LogLimit,
}

/// A copy of [`BlkCounters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlkStats {
    /// Requests that were done.
    pub requests: u64,
    /// Bytes read from the disk.
    pub bytes: u64,
    /// Requests that failed: malformed, behind the end, unsupported, not readable.
    pub failed: u64,
}

impl BlkCounters {
    /// What has been counted so far.
    pub fn stats(&self) -> BlkStats {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        BlkStats { requests: get(&self.requests), bytes: get(&self.bytes), failed: get(&self.failed) }
    }

    pub(super) fn done(&self, bytes: u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}
