//! What a device's worker reaches of its transport, from its own thread: no lock of the function's.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering};

use crate::pci::Msix;
use crate::virtio::Signals;

/// `VIRTIO_MSI_NO_VECTOR` (virtio 1.3 §4.1.5.1.2).
pub(super) const NO_VECTOR: u16 = 0xffff;
/// ISR: a queue has used buffers (§4.1.4.5).
const ISR_QUEUE: u8 = 1;
/// ISR: the configuration changed.
const ISR_CONFIG: u8 = 2;

/// Interrupts of one device, and what goes with them.
#[derive(Debug)]
pub(super) struct PciSignals {
    pub(super) msix: Msix,
    isr: AtomicU8,
    generation: AtomicU8,
    broken: AtomicBool,
    config_vector: AtomicU16,
    queue_vectors: Vec<AtomicU16>,
}

impl PciSignals {
    pub(super) fn new(msix: Msix, queues: usize) -> Self {
        PciSignals {
            msix,
            isr: AtomicU8::new(0),
            generation: AtomicU8::new(0),
            broken: AtomicBool::new(false),
            config_vector: AtomicU16::new(NO_VECTOR),
            queue_vectors: (0..queues).map(|_| AtomicU16::new(NO_VECTOR)).collect(),
        }
    }

    /// As after a reset. Configuration generation goes on counting: a driver that read half of the
    /// configuration before must notice.
    pub(super) fn reset(&self) {
        self.isr.store(0, Ordering::Release);
        self.broken.store(false, Ordering::Release);
        for vector in self.queue_vectors.iter().chain([&self.config_vector]) {
            vector.store(NO_VECTOR, Ordering::Release);
        }
    }

    /// Reads ISR status, and so clears it.
    pub(super) fn take_isr(&self) -> u8 {
        self.isr.swap(0, Ordering::AcqRel)
    }

    pub(super) fn generation(&self) -> u8 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether the device needs a reset.
    pub(super) fn broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    pub(super) fn config_vector(&self) -> u16 {
        self.config_vector.load(Ordering::Acquire)
    }

    pub(super) fn set_config_vector(&self, vector: u16) {
        self.config_vector.store(self.existing(vector), Ordering::Release);
    }

    pub(super) fn queue_vector(&self, queue: u16) -> Option<u16> {
        self.queue_vectors.get(usize::from(queue)).map(|v| v.load(Ordering::Acquire))
    }

    pub(super) fn set_queue_vector(&self, queue: u16, vector: u16) {
        if let Some(slot) = self.queue_vectors.get(usize::from(queue)) {
            slot.store(self.existing(vector), Ordering::Release);
        }
    }

    /// A vector that does not exist reads back as none: mapping it failed (§4.1.5.1.2.1).
    fn existing(&self, vector: u16) -> u16 {
        if vector < self.msix.count() { vector } else { NO_VECTOR }
    }

    fn config_interrupt(&self) {
        self.isr.fetch_or(ISR_CONFIG, Ordering::AcqRel);
        self.msix.trigger(self.config_vector());
    }
}

impl Signals for PciSignals {
    fn queue(&self, index: u16) {
        self.isr.fetch_or(ISR_QUEUE, Ordering::AcqRel);
        if let Some(vector) = self.queue_vector(index) {
            self.msix.trigger(vector);
        }
    }

    fn config_changed(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.config_interrupt();
    }

    fn needs_reset(&self) {
        // Told once: a device that stays broken has nothing new to say.
        if !self.broken.swap(true, Ordering::AcqRel) {
            self.config_interrupt();
        }
    }
}
