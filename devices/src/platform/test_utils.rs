//! Fakes that the tests of this module share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::bus::BusDevice;
use crate::irq::IrqLine;

/// Counts rising edges.
#[derive(Default)]
pub(super) struct Edges {
    rising: AtomicUsize,
}

impl Edges {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(super) fn count(&self) -> usize {
        self.rising.load(Ordering::SeqCst)
    }
}

impl IrqLine for Edges {
    fn set(&self, high: bool) {
        self.rising.fetch_add(usize::from(high), Ordering::SeqCst);
    }
}

/// One byte as the bus reads it.
pub(super) fn read(device: &mut dyn BusDevice, offset: u64) -> u8 {
    let mut data = [0xff];
    device.read(offset, &mut data);
    data[0]
}
