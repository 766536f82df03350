//! The device as its transport sees it.

use std::sync::Arc;

use zerocopy::IntoBytes;

use super::counters::BlkCounters;
use super::disk::Disk;
use super::spec::{Config, FEATURE_BLK_SIZE, FEATURE_RO, FEATURE_SEG_MAX, SECTOR};
use super::worker::BlkHandler;
use crate::virtio::worker::Worker;
use crate::virtio::{ActivateError, Activation, DeviceType, Features, VirtioDevice, read_config};

/// The only queue, `requestq1` (virtio 1.3 §5.2.2).
pub(super) const REQUEST_QUEUE: u16 = 0;
const QUEUE_SIZE: u16 = 256;
const QUEUE_SIZES: [u16; 1] = [QUEUE_SIZE];
/// What a queue has room for in one request beside the header and the status.
const SEG_MAX: u32 = QUEUE_SIZE as u32 - 2;

/// A disk that can be read.
#[derive(Debug)]
pub struct Blk {
    disk: Disk,
    config: Config,
    worker: Option<Worker<BlkHandler>>,
    counters: Arc<BlkCounters>,
}

impl Blk {
    /// A block device of `disk`.
    pub fn new(disk: Disk) -> Self {
        let config = Config {
            capacity: disk.sectors().to_le(),
            size_max: 0,
            seg_max: SEG_MAX.to_le(),
            geometry: 0,
            blk_size: (SECTOR as u32).to_le(),
        };
        Blk { disk, config, worker: None, counters: Arc::default() }
    }

    /// Its counters.
    pub fn counters(&self) -> &Arc<BlkCounters> {
        &self.counters
    }
}

impl VirtioDevice for Blk {
    fn device_type(&self) -> DeviceType {
        DeviceType::BLOCK
    }

    fn features(&self) -> Features {
        FEATURE_RO | FEATURE_SEG_MAX | FEATURE_BLK_SIZE
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn config_read(&self, offset: u64, data: &mut [u8]) {
        read_config(self.config.as_bytes(), offset, data);
    }

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        let queue = activation.take_queue(REQUEST_QUEUE)?;
        let counters = Arc::clone(&self.counters);
        let handler = BlkHandler::new(queue, activation.failure, self.disk.clone(), counters);
        self.worker = Some(Worker::start("virtio-blk", handler)?);
        Ok(())
    }

    fn reset(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.stop();
        }
    }
}
