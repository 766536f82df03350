//! The queue: takes requests, completes them, and keeps both sides from waking each other needlessly.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use cloister_coco::memory::SharedMemory;

use super::Chain;
use super::config::{AVAIL_RING, QueueConfig, USED_RING, unreachable};
use super::counters::{QueueCounters, count};
use super::error::QueueError;
use super::spec::{
    AVAIL_ENTRY_SIZE, AVAIL_F_NO_INTERRUPT, Descriptor, RING_ENTRIES, RING_IDX, USED_ENTRY_SIZE,
    USED_F_NO_NOTIFY, UsedElement,
};
use super::walk::{WalkError, walk};

/// Malformed requests given back in one call: each can cost a look at 4 GiB worth of pages.
const MALFORMED_BATCH: u16 = 64;

/// A split virtqueue that a driver has enabled. Owned by one worker.
#[derive(Debug)]
pub struct Queue {
    mem: SharedMemory,
    config: QueueConfig,
    /// Requests taken from the available ring, modulo 2^16.
    next_avail: u16,
    /// Completions put into the used ring, modulo 2^16.
    next_used: u16,
    /// `next_used` when it was last decided whether to interrupt.
    decided_used: u16,
    /// Completions since then; more than the index can tell apart always interrupt.
    undecided: u32,
    /// Requests and completions differ by at most the queue's size; a peeked one counts as taken.
    peeked: Option<Chain>,
    scratch: Vec<Descriptor>,
    counters: Arc<QueueCounters>,
}

impl Queue {
    /// Checks `config` against the memory that devices may touch, and begins at index 0.
    pub fn new(config: QueueConfig, mem: &SharedMemory) -> Result<Queue, QueueError> {
        Queue::with_counters(config, mem, Arc::default())
    }

    /// The same, counting into counters that live longer than the queue.
    pub fn with_counters(
        config: QueueConfig,
        mem: &SharedMemory,
        counters: Arc<QueueCounters>,
    ) -> Result<Queue, QueueError> {
        config.check(mem)?;
        Ok(Queue {
            mem: mem.clone(),
            config,
            next_avail: 0,
            next_used: 0,
            decided_used: 0,
            undecided: 0,
            peeked: None,
            scratch: Vec::new(),
            counters,
        })
    }

    /// Number of descriptors.
    pub fn size(&self) -> u16 {
        self.config.size
    }

    /// The memory that the queue and its buffers are in.
    pub fn memory(&self) -> &SharedMemory {
        &self.mem
    }

    /// What this queue has seen.
    pub fn counters(&self) -> &Arc<QueueCounters> {
        &self.counters
    }

    /// Requests taken and not yet completed.
    pub fn outstanding(&self) -> u16 {
        self.next_avail.wrapping_sub(self.next_used)
    }

    /// Takes the next request. Each one taken is to be completed once, in any order.
    ///
    /// Malformed requests are completed with length 0 on the way; after 64 of them in a row `None` comes
    /// early, so that a guest cannot keep the caller here: enabling notifications will say that there is
    /// more.
    pub fn pop(&mut self) -> Result<Option<Chain>, QueueError> {
        match self.peeked.take() {
            Some(chain) => Ok(Some(chain)),
            None => self.next_chain(),
        }
    }

    /// Looks at the next request without taking it. It is read from the ring once: [`Queue::pop`] gives
    /// this very copy.
    pub fn peek(&mut self) -> Result<Option<&Chain>, QueueError> {
        if self.peeked.is_none() {
            self.peeked = self.next_chain()?;
        }
        Ok(self.peeked.as_ref())
    }

    /// Completes the request that began at `head` with `len` bytes written into it.
    pub fn push_used(&mut self, head: u16, len: u32) -> Result<(), QueueError> {
        if self.outstanding() == 0 {
            return Err(QueueError::NothingOutstanding { head });
        }
        let slot = u64::from(self.next_used & self.mask());
        let gpa = ring_entry(self.config.device, slot, USED_ENTRY_SIZE);
        let element = UsedElement { id: u32::from(head).into(), len: len.into() };
        self.mem.write_obj(gpa, &element).map_err(unreachable(USED_RING))?;
        self.next_used = self.next_used.wrapping_add(1);
        let idx = self.config.device.saturating_add(RING_IDX);
        self.mem.store_u16(idx, self.next_used).map_err(unreachable(USED_RING))?;
        self.undecided = self.undecided.saturating_add(1);
        count(&self.counters.completions);
        Ok(())
    }

    /// Whether the driver is to be interrupted for what was completed since this was last asked
    /// (virtio 1.3 §2.7.7.2).
    pub fn needs_interrupt(&mut self) -> Result<bool, QueueError> {
        let pushed = std::mem::take(&mut self.undecided);
        let old = std::mem::replace(&mut self.decided_used, self.next_used);
        if pushed == 0 {
            return Ok(false);
        }
        // Our index must be visible before the driver's wish is read, or each side could miss the other.
        fence(Ordering::SeqCst);
        let wanted = if self.config.event_idx {
            let slot = u64::from(self.config.size);
            let event = ring_entry(self.config.driver, slot, AVAIL_ENTRY_SIZE);
            let event = self.mem.load_u16(event).map_err(unreachable(AVAIL_RING))?;
            pushed > u32::from(u16::MAX) || passed(event, old, self.next_used)
        } else {
            let flags = self.mem.load_u16(self.config.driver).map_err(unreachable(AVAIL_RING))?;
            flags & AVAIL_F_NO_INTERRUPT == 0
        };
        if wanted {
            count(&self.counters.interrupts);
        }
        Ok(wanted)
    }

    /// Asks the driver not to ring the doorbell; it may all the same.
    pub fn disable_notifications(&mut self) -> Result<(), QueueError> {
        if self.config.event_idx {
            // The event index stays behind: the driver rings once per wrap at most.
            return Ok(());
        }
        self.mem.store_u16(self.config.device, USED_F_NO_NOTIFY).map_err(unreachable(USED_RING))
    }

    /// Asks the driver to ring the doorbell for the next request. True if there is one already, for
    /// which it may not ring: go on taking requests, or look again before waiting.
    pub fn enable_notifications(&mut self) -> Result<bool, QueueError> {
        if self.config.event_idx {
            let slot = u64::from(self.config.size);
            let event = ring_entry(self.config.device, slot, USED_ENTRY_SIZE);
            self.mem.store_u16(event, self.next_avail).map_err(unreachable(USED_RING))?;
        } else {
            self.mem.store_u16(self.config.device, 0).map_err(unreachable(USED_RING))?;
        }
        // Our wish must be visible before the driver's index is read again.
        fence(Ordering::SeqCst);
        Ok(self.peeked.is_some() || self.available()? > 0)
    }

    /// Requests in the available ring that were not taken yet.
    fn available(&self) -> Result<u16, QueueError> {
        let idx = self.config.driver.saturating_add(RING_IDX);
        let idx = self.mem.load_u16(idx).map_err(unreachable(AVAIL_RING))?;
        // A driver has at most `size` requests that we did not complete, taken or not.
        let ahead = idx.wrapping_sub(self.next_used);
        if ahead > self.config.size || ahead < self.outstanding() {
            return Err(QueueError::IndexJump { ahead, size: self.config.size });
        }
        Ok(idx.wrapping_sub(self.next_avail))
    }

    /// The size is a power of two.
    fn mask(&self) -> u16 {
        self.config.size.wrapping_sub(1)
    }

    fn next_chain(&mut self) -> Result<Option<Chain>, QueueError> {
        for _ in 0..self.config.size.min(MALFORMED_BATCH) {
            if self.available()? == 0 {
                return Ok(None);
            }
            let slot = u64::from(self.next_avail & self.mask());
            let entry = ring_entry(self.config.driver, slot, AVAIL_ENTRY_SIZE);
            let head = self.mem.load_u16(entry).map_err(unreachable(AVAIL_RING))?;
            if head >= self.config.size {
                return Err(QueueError::HeadOutOfRange { head, size: self.config.size });
            }
            self.next_avail = self.next_avail.wrapping_add(1);
            match walk(&self.mem, &self.config, head, &mut self.scratch) {
                Ok(chain) => {
                    count(&self.counters.requests);
                    return Ok(Some(chain));
                }
                Err(WalkError::Queue(e)) => return Err(e),
                Err(WalkError::Chain(e)) => {
                    count(&self.counters.malformed);
                    if let Some(suppressed) = self.counters.log.allow() {
                        tracing::warn!(head, suppressed, "malformed virtio request: {e}");
                    }
                    self.push_used(head, 0)?;
                }
            }
        }
        Ok(None)
    }
}

/// Address of entry `slot` of the ring at `base`; the slot after the last one is the event index.
fn ring_entry(base: u64, slot: u64, size: u64) -> u64 {
    base.saturating_add(RING_ENTRIES).saturating_add(slot.saturating_mul(size))
}

/// Whether an index that went from `old` to `new` passed `event` (`vring_need_event`, §2.7.7.2).
fn passed(event: u16, old: u16, new: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}
