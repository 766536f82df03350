//! Bringing a virtio device up, by the steps of virtio 1.3, 3.1.1.

use super::queue::{QUEUE_SIZE, Queue};
use super::window::{Layout, Structure, Window};
use crate::error::HostError;
use crate::pci::Pci;
use crate::platform::{Bounce, Ports, Timer};

const VENDOR: u16 = 0x1af4;
const MODERN: u16 = 0x1040;

/// Feature bits.
pub mod feature {
    /// Virtio 1.0 and later.
    pub const VERSION_1: u64 = 1 << 32;
    /// The device reaches only memory that the platform lets it reach.
    pub const ACCESS_PLATFORM: u64 = 1 << 33;
}

mod status {
    pub(super) const ACKNOWLEDGE: u32 = 1;
    pub(super) const DRIVER: u32 = 2;
    pub(super) const DRIVER_OK: u32 = 4;
    pub(super) const FEATURES_OK: u32 = 8;
}

/// Offsets and widths in the common configuration structure.
mod common {
    pub(super) const DEVICE_FEATURE_SELECT: (u32, u32) = (0, 4);
    pub(super) const DEVICE_FEATURE: (u32, u32) = (4, 4);
    pub(super) const DRIVER_FEATURE_SELECT: (u32, u32) = (8, 4);
    pub(super) const DRIVER_FEATURE: (u32, u32) = (12, 4);
    pub(super) const STATUS: (u32, u32) = (20, 1);
    pub(super) const GENERATION: (u32, u32) = (21, 1);
    pub(super) const QUEUE_SELECT: (u32, u32) = (22, 2);
    pub(super) const QUEUE_SIZE: (u32, u32) = (24, 2);
    pub(super) const QUEUE_ENABLE: (u32, u32) = (28, 2);
    pub(super) const QUEUE_NOTIFY_OFF: (u32, u32) = (30, 2);
    pub(super) const QUEUE_ADDRESSES: [u32; 3] = [32, 40, 48];
}

const RESET_SECONDS: u32 = 5;
const GENERATION_TRIES: usize = 16;

/// A device that we drive.
#[derive(Debug)]
pub struct Device<P> {
    window: Window<P>,
    layout: Layout,
    features: u64,
}

impl<P: Ports> Device<P> {
    /// Finds the device of virtio type `id`, resets it and agrees on features: those of `wanted` that it
    /// offers, and VERSION_1.
    pub fn open(ports: P, id: u16, wanted: u64, timer: &mut impl Timer) -> Result<Self, HostError> {
        let mut pci = Pci::new(ports);
        let function = pci.find(VENDOR, MODERN | id).ok_or(HostError::NoDevice)?;
        let (window, layout) = Window::open(pci, function)?;
        let mut device = Device { window, layout, features: 0 };
        device.write(common::STATUS, 0);
        timer.restart(RESET_SECONDS);
        while device.read(common::STATUS) != 0 {
            if !timer.wait() {
                return Err(HostError::Reset);
            }
        }
        device.write(common::STATUS, status::ACKNOWLEDGE);
        device.write(common::STATUS, status::ACKNOWLEDGE | status::DRIVER);
        device.negotiate(wanted | feature::VERSION_1)?;
        Ok(device)
    }

    fn negotiate(&mut self, wanted: u64) -> Result<(), HostError> {
        self.write(common::DEVICE_FEATURE_SELECT, 0);
        let low = self.read(common::DEVICE_FEATURE);
        self.write(common::DEVICE_FEATURE_SELECT, 1);
        let high = self.read(common::DEVICE_FEATURE);
        self.features = ((u64::from(high) << 32) | u64::from(low)) & wanted;
        if self.features & feature::VERSION_1 == 0 {
            return Err(HostError::Features);
        }
        for (select, half) in [(0, self.features as u32), (1, (self.features >> 32) as u32)] {
            self.write(common::DRIVER_FEATURE_SELECT, select);
            self.write(common::DRIVER_FEATURE, half);
        }
        let done = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
        self.write(common::STATUS, done);
        if self.read(common::STATUS) & status::FEATURES_OK == 0 {
            return Err(HostError::Features);
        }
        Ok(())
    }

    /// What was agreed on.
    pub fn features(&self) -> u64 {
        self.features
    }

    /// Tells the device where a queue is. The result is its doorbell.
    pub fn set_queue(
        &mut self,
        index: u16,
        queue: &Queue,
        bounce: &impl Bounce,
    ) -> Result<Doorbell, HostError> {
        self.write(common::QUEUE_SELECT, u32::from(index));
        if self.read(common::QUEUE_SIZE) < u32::from(QUEUE_SIZE) {
            return Err(HostError::Queue(index));
        }
        self.write(common::QUEUE_SIZE, u32::from(QUEUE_SIZE));
        for (register, address) in common::QUEUE_ADDRESSES.into_iter().zip(queue.addresses(bounce)) {
            self.write((register, 4), address as u32);
            self.write((register.saturating_add(4), 4), (address >> 32) as u32);
        }
        let doorbell = self.read(common::QUEUE_NOTIFY_OFF).checked_mul(self.layout.notify_multiplier);
        let part = doorbell.and_then(|offset| self.layout.notify.part(offset, 2));
        self.write(common::QUEUE_ENABLE, 1);
        Ok(Doorbell { part: part.ok_or(HostError::Queue(index))?, index })
    }

    /// The driver is ready: the device may use its queues from here on.
    pub fn start(&mut self) {
        let all = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK;
        self.write(common::STATUS, all);
    }

    /// Rings a doorbell.
    pub fn notify(&mut self, doorbell: &Doorbell) {
        self.window.write(doorbell.part, u32::from(doorbell.index));
    }

    /// Eight bytes of the device's own configuration, all of one generation.
    pub fn config64(&mut self, offset: u32) -> Result<u64, HostError> {
        let half = |at| self.layout.device.part(at, 4).ok_or(HostError::Capability("device"));
        let (low, high) = (half(offset)?, half(offset.saturating_add(4))?);
        for _ in 0..GENERATION_TRIES {
            let before = self.read(common::GENERATION);
            let value = (u64::from(self.window.read(high)) << 32) | u64::from(self.window.read(low));
            if self.read(common::GENERATION) == before {
                return Ok(value);
            }
        }
        Err(HostError::TimedOut("the device's configuration never settles"))
    }

    /// Resets the device: it forgets where our memory is.
    pub fn stop(&mut self) {
        self.write(common::STATUS, 0);
    }

    fn read(&mut self, register: (u32, u32)) -> u32 {
        self.common(register).map_or(u32::MAX, |part| self.window.read(part))
    }

    fn write(&mut self, register: (u32, u32), value: u32) {
        if let Some(part) = self.common(register) {
            self.window.write(part, value);
        }
    }

    fn common(&self, (offset, len): (u32, u32)) -> Option<Structure> {
        self.layout.common.part(offset, len)
    }
}

/// Where to write to say that a queue has something new.
#[derive(Debug)]
pub struct Doorbell {
    part: Structure,
    index: u16,
}
