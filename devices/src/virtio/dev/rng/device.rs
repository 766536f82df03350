//! The device as its transport sees it.

use std::sync::Arc;

use super::counters::RngCounters;
use super::worker::RngHandler;
use crate::virtio::worker::Worker;
use crate::virtio::{ActivateError, Activation, DeviceType, VirtioDevice};

/// The only queue, `requestq` (virtio 1.3 §5.4.2).
pub(super) const REQUEST_QUEUE: u16 = 0;
const QUEUE_SIZES: [u16; 1] = [64];

/// An entropy device that passes on the host's random numbers.
///
/// A confidential guest must not rely on these alone, for the host chooses them; it mixes them with the
/// CPU's own.
#[derive(Debug, Default)]
pub struct Rng {
    worker: Option<Worker<RngHandler>>,
    counters: Arc<RngCounters>,
}

impl Rng {
    /// A new device.
    pub fn new() -> Self {
        Rng::default()
    }

    /// Its counters.
    pub fn counters(&self) -> &Arc<RngCounters> {
        &self.counters
    }
}

impl VirtioDevice for Rng {
    fn device_type(&self) -> DeviceType {
        DeviceType::ENTROPY
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        let queue = activation.take_queue(REQUEST_QUEUE)?;
        let handler = RngHandler::new(queue, activation.failure, Arc::clone(&self.counters));
        self.worker = Some(Worker::start("virtio-rng", handler)?);
        Ok(())
    }

    fn reset(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.stop();
        }
    }
}
