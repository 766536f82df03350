//! A queue's configuration as the driver gave it, and the check that it gets before it is used.

use cloister_coco::memory::{AccessError, SharedMemory};

use super::error::QueueError;
use super::spec::{
    AVAIL_ALIGN, AVAIL_ENTRY_SIZE, DESC_ALIGN, DESC_SIZE, RING_ENTRIES, USED_ALIGN, USED_ENTRY_SIZE,
};

/// The largest queue (virtio 1.3 §2.7).
pub const MAX_QUEUE_SIZE: u16 = 32768;

/// A queue as the driver configured it. Every number is the guest's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueConfig {
    /// Number of descriptors.
    pub size: u16,
    /// Guest-physical address of the descriptor table.
    pub desc: u64,
    /// Of the driver area (the available ring).
    pub driver: u64,
    /// Of the device area (the used ring).
    pub device: u64,
    /// RING_EVENT_IDX was negotiated.
    pub event_idx: bool,
    /// RING_INDIRECT_DESC was negotiated.
    pub indirect: bool,
}

impl QueueConfig {
    /// Checks everything that can be checked before the first request: size, alignment, and that the
    /// three areas are in shared RAM.
    pub(super) fn check(&self, mem: &SharedMemory) -> Result<(), QueueError> {
        if !self.size.is_power_of_two() || self.size > MAX_QUEUE_SIZE {
            return Err(QueueError::BadSize { size: self.size, max: MAX_QUEUE_SIZE });
        }
        let entries = |bytes: u64| u64::from(self.size).saturating_mul(bytes);
        // Both rings end in an index for EVENT_IDX, whether negotiated or not (§2.7).
        let ring = |bytes| entries(bytes).saturating_add(RING_ENTRIES).saturating_add(2);
        for (area, gpa, align, len) in [
            (DESC_TABLE, self.desc, DESC_ALIGN, entries(DESC_SIZE)),
            (AVAIL_RING, self.driver, AVAIL_ALIGN, ring(AVAIL_ENTRY_SIZE)),
            (USED_RING, self.device, USED_ALIGN, ring(USED_ENTRY_SIZE)),
        ] {
            if !gpa.is_multiple_of(align) {
                return Err(QueueError::Misaligned { area, gpa, align });
            }
            mem.check(gpa, len).map_err(unreachable(area))?;
        }
        Ok(())
    }
}

pub(super) const DESC_TABLE: &str = "descriptor table";
pub(super) const AVAIL_RING: &str = "available ring";
pub(super) const USED_RING: &str = "used ring";

pub(super) fn unreachable(area: &'static str) -> impl Fn(AccessError) -> QueueError {
    move |source| QueueError::Unreachable { area, source }
}
