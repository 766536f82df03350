//! Kicks that the kernel takes for us, wherever the BAR is.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::layout::{NOTIFY, NOTIFY_MULTIPLIER};
use crate::limit::LogLimit;
use crate::notify::DoorbellRegistry;
use crate::virtio::Doorbell;

/// The doorbells of a device's queues.
pub(super) struct Doorbells {
    registry: Arc<dyn DoorbellRegistry>,
    bells: Vec<Arc<Doorbell>>,
    /// Addresses that ring now, by queue.
    placed: Vec<Option<u64>>,
    log: LogLimit,
}

impl Doorbells {
    pub(super) fn new(registry: Arc<dyn DoorbellRegistry>, queues: usize) -> io::Result<Self> {
        let bells = (0..queues).map(|_| Doorbell::new().map(Arc::new)).collect::<io::Result<_>>()?;
        Ok(Doorbells { registry, bells, placed: vec![None; queues], log: LogLimit::default() })
    }

    /// The doorbell of a queue.
    pub(super) fn bell(&self, queue: u16) -> Option<&Arc<Doorbell>> {
        self.bells.get(usize::from(queue))
    }

    /// The BAR is at `base` now, or nowhere. Where the kernel cannot help, writes arrive as exits.
    pub(super) fn place(&mut self, base: Option<u64>) {
        for (queue, (bell, placed)) in (0u64..).zip(self.bells.iter().zip(&mut self.placed)) {
            let offset = queue.saturating_mul(u64::from(NOTIFY_MULTIPLIER)).saturating_add(NOTIFY);
            let wanted = base.map(|b| b.saturating_add(offset));
            if *placed == wanted {
                continue;
            }
            let old = placed.take().map(|at| self.registry.unregister(at, bell.as_fd()));
            let new = wanted.map(|at| self.registry.register(at, bell.as_fd()));
            *placed = wanted.filter(|_| matches!(new, Some(Ok(()))));
            for error in [old, new].into_iter().flatten().filter_map(Result::err) {
                if let Some(suppressed) = self.log.allow() {
                    tracing::warn!(queue, suppressed, "cannot move a doorbell: {error}");
                }
            }
        }
    }
}

impl Drop for Doorbells {
    fn drop(&mut self) {
        self.place(None);
    }
}

impl std::fmt::Debug for Doorbells {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doorbells").field("placed", &self.placed).finish_non_exhaustive()
    }
}
