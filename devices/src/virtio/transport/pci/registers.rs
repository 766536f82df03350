//! The common configuration structure: negotiation, status and queue setup (virtio 1.3 §4.1.4.3, §3.1).
//!
//! A state machine over registers: it says when the device is to start or to be reset, and does neither.

use bitflags::bitflags;

use super::layout::COMMON_LEN;
use super::signals::PciSignals;
use crate::virtio::Features;
use crate::virtio::queue::QueueConfig;

bitflags! {
    /// Device status (virtio 1.3 §2.1). Open: a driver may write anything.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Status: u8 {
        /// The guest found the device.
        const ACKNOWLEDGE = 1;
        /// The guest has a driver for it.
        const DRIVER = 1 << 1;
        /// The driver is ready.
        const DRIVER_OK = 1 << 2;
        /// Features are negotiated.
        const FEATURES_OK = 1 << 3;
        /// The device met an error that it cannot recover from.
        const DEVICE_NEEDS_RESET = 1 << 6;
        /// The driver gave up.
        const FAILED = 1 << 7;
        const _ = !0;
    }
}

/// Fields of `struct virtio_pci_common_cfg`.
mod field {
    pub(super) const DEVICE_FEATURE_SELECT: u64 = 0x00;
    pub(super) const DEVICE_FEATURE: u64 = 0x04;
    pub(super) const DRIVER_FEATURE_SELECT: u64 = 0x08;
    pub(super) const DRIVER_FEATURE: u64 = 0x0c;
    pub(super) const CONFIG_VECTOR: u64 = 0x10;
    pub(super) const NUM_QUEUES: u64 = 0x12;
    pub(super) const STATUS: u64 = 0x14;
    pub(super) const GENERATION: u64 = 0x15;
    pub(super) const QUEUE_SELECT: u64 = 0x16;
    pub(super) const QUEUE_SIZE: u64 = 0x18;
    pub(super) const QUEUE_VECTOR: u64 = 0x1a;
    pub(super) const QUEUE_ENABLE: u64 = 0x1c;
    pub(super) const QUEUE_NOTIFY_OFF: u64 = 0x1e;
    pub(super) const QUEUE_DESC: u64 = 0x20;
    pub(super) const QUEUE_DRIVER: u64 = 0x28;
    pub(super) const QUEUE_DEVICE: u64 = 0x30;
}

/// What a write asks the function to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing more.
    None,
    /// Stop the device and forget everything.
    Reset,
    /// The driver is ready: activate the device.
    Start,
}

/// One queue's registers.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueRegisters {
    max: u16,
    size: u16,
    pub(super) enabled: bool,
    desc: u64,
    driver: u64,
    device: u64,
}

impl QueueRegisters {
    fn new(max: u16) -> Self {
        QueueRegisters { max, size: max, enabled: false, desc: 0, driver: 0, device: 0 }
    }
}

/// The registers of one device.
#[derive(Debug)]
pub(super) struct Registers {
    offered: Features,
    required: Features,
    device_feature_select: u32,
    driver_feature_select: u32,
    accepted: Features,
    /// The driver set bits from 64 on, which nobody offers.
    accepted_beyond: bool,
    status: Status,
    queue_select: u16,
    queues: Vec<QueueRegisters>,
}

impl Registers {
    /// Registers that offer `offered` and do not go on without `required`.
    pub(super) fn new(offered: Features, required: Features, queue_sizes: &[u16]) -> Self {
        Registers {
            offered,
            required,
            device_feature_select: 0,
            driver_feature_select: 0,
            accepted: Features::empty(),
            accepted_beyond: false,
            status: Status::empty(),
            queue_select: 0,
            queues: queue_sizes.iter().map(|&max| QueueRegisters::new(max)).collect(),
        }
    }

    /// As after a reset.
    pub(super) fn reset(&mut self) {
        let sizes: Vec<u16> = self.queues.iter().map(|q| q.max).collect();
        *self = Registers::new(self.offered, self.required, &sizes);
    }

    /// What the driver accepted; negotiated once FEATURES_OK is set.
    pub(super) fn features(&self) -> Features {
        self.accepted
    }

    pub(super) fn status(&self, signals: &PciSignals) -> Status {
        let mut status = self.status;
        status.set(Status::DEVICE_NEEDS_RESET, signals.broken());
        status
    }

    /// Each queue as the driver configured it; `None` where it enabled none.
    pub(super) fn queue_configs(&self) -> Vec<Option<QueueConfig>> {
        let config = |q: &QueueRegisters| {
            q.enabled.then_some(QueueConfig {
                size: q.size,
                desc: q.desc,
                driver: q.driver,
                device: q.device,
                event_idx: self.accepted.contains(Features::RING_EVENT_IDX),
                indirect: self.accepted.contains(Features::RING_INDIRECT_DESC),
            })
        };
        self.queues.iter().map(config).collect()
    }

    /// The driver reads; `data` is set in full, beyond the structure with zeros.
    pub(super) fn read(&self, offset: u64, data: &mut [u8], signals: &PciSignals) {
        let image = self.image(signals);
        crate::virtio::read_config(&image, offset, data);
    }

    fn image(&self, signals: &PciSignals) -> [u8; COMMON_LEN as usize] {
        let mut image = [0; COMMON_LEN as usize];
        let mut put = |at: u64, value: &[u8]| {
            let at = usize::try_from(at).ok().and_then(|at| image.get_mut(at..)).unwrap_or_default();
            for (to, from) in at.iter_mut().zip(value) {
                *to = *from;
            }
        };
        put(field::DEVICE_FEATURE_SELECT, &self.device_feature_select.to_le_bytes());
        put(field::DEVICE_FEATURE, &half(self.offered, self.device_feature_select).to_le_bytes());
        put(field::DRIVER_FEATURE_SELECT, &self.driver_feature_select.to_le_bytes());
        put(field::DRIVER_FEATURE, &half(self.accepted, self.driver_feature_select).to_le_bytes());
        put(field::CONFIG_VECTOR, &signals.config_vector().to_le_bytes());
        put(field::NUM_QUEUES, &u16::try_from(self.queues.len()).unwrap_or(0).to_le_bytes());
        put(field::STATUS, &[self.status(signals).bits()]);
        put(field::GENERATION, &[signals.generation()]);
        put(field::QUEUE_SELECT, &self.queue_select.to_le_bytes());
        // A queue that does not exist has size 0, and nothing else (§4.1.4.3.1).
        if let Some(queue) = self.queues.get(usize::from(self.queue_select)) {
            put(field::QUEUE_SIZE, &queue.size.to_le_bytes());
            let vector = signals.queue_vector(self.queue_select).unwrap_or_default();
            put(field::QUEUE_VECTOR, &vector.to_le_bytes());
            put(field::QUEUE_ENABLE, &u16::from(queue.enabled).to_le_bytes());
            put(field::QUEUE_NOTIFY_OFF, &self.queue_select.to_le_bytes());
            put(field::QUEUE_DESC, &queue.desc.to_le_bytes());
            put(field::QUEUE_DRIVER, &queue.driver.to_le_bytes());
            put(field::QUEUE_DEVICE, &queue.device.to_le_bytes());
        }
        image
    }

    /// The driver writes. Only whole fields are taken, and halves of the 64-bit ones (§4.1.3.1).
    pub(super) fn write(&mut self, offset: u64, data: &[u8], signals: &PciSignals) -> Action {
        match *data {
            [value] if offset == field::STATUS => return self.write_status(value),
            [a, b] => self.write_16(offset, u16::from_le_bytes([a, b]), signals),
            [a, b, c, d] => self.write_32(offset, u32::from_le_bytes([a, b, c, d])),
            [a, b, c, d, e, f, g, h] => {
                let fields = [field::QUEUE_DESC, field::QUEUE_DRIVER, field::QUEUE_DEVICE];
                if fields.contains(&offset) {
                    self.write_32(offset, u32::from_le_bytes([a, b, c, d]));
                    self.write_32(offset.saturating_add(4), u32::from_le_bytes([e, f, g, h]));
                }
            }
            _ => {}
        }
        Action::None
    }

    fn write_16(&mut self, offset: u64, value: u16, signals: &PciSignals) {
        match offset {
            field::CONFIG_VECTOR => signals.set_config_vector(value),
            field::QUEUE_SELECT => self.queue_select = value,
            field::QUEUE_VECTOR => signals.set_queue_vector(self.queue_select, value),
            field::QUEUE_SIZE => {
                if let Some(queue) = self.queue_in_setup()
                    && value.is_power_of_two()
                    && value <= queue.max
                {
                    queue.size = value;
                }
            }
            // 0 is never written (§4.1.4.3.2); a queue is disabled by a reset.
            field::QUEUE_ENABLE if value == 1 => {
                if let Some(queue) = self.queue_in_setup() {
                    queue.enabled = true;
                }
            }
            _ => {}
        }
    }

    fn write_32(&mut self, offset: u64, value: u32) {
        match offset {
            field::DEVICE_FEATURE_SELECT => self.device_feature_select = value,
            field::DRIVER_FEATURE_SELECT => self.driver_feature_select = value,
            field::DRIVER_FEATURE => self.accept(value),
            _ => {
                let low = offset & !7;
                let high = offset & 4 != 0;
                let Some(queue) = self.queue_in_setup() else { return };
                let address = match (low, offset & 3) {
                    (field::QUEUE_DESC, 0) => &mut queue.desc,
                    (field::QUEUE_DRIVER, 0) => &mut queue.driver,
                    (field::QUEUE_DEVICE, 0) => &mut queue.device,
                    _ => return,
                };
                *address = with_half(*address, high, value);
            }
        }
    }

    /// The selected queue, while it can still be configured: not enabled, and the driver not ready.
    fn queue_in_setup(&mut self) -> Option<&mut QueueRegisters> {
        if self.status.contains(Status::DRIVER_OK) {
            return None;
        }
        self.queues.get_mut(usize::from(self.queue_select)).filter(|q| !q.enabled)
    }

    /// Once FEATURES_OK is set, nothing more is accepted (§3.1.1 step 5).
    fn accept(&mut self, value: u32) {
        if self.status.contains(Status::FEATURES_OK) {
            return;
        }
        match self.driver_feature_select {
            select @ (0 | 1) => {
                let bits = with_half(self.accepted.bits(), select == 1, value);
                self.accepted = Features::from_bits_retain(bits);
            }
            _ => self.accepted_beyond |= value != 0,
        }
    }

    fn write_status(&mut self, value: u8) -> Action {
        if value == 0 {
            return Action::Reset;
        }
        let mut new = Status::from_bits_retain(value).difference(Status::DEVICE_NEEDS_RESET);
        if !new.contains(self.status) {
            // The driver must not clear a bit (§2.1.1): nothing of such a write is taken.
            return Action::None;
        }
        let known = Status::ACKNOWLEDGE | Status::DRIVER;
        if new.contains(Status::FEATURES_OK)
            && !self.status.contains(Status::FEATURES_OK)
            && !(new.contains(known) && self.acceptable())
        {
            new.remove(Status::FEATURES_OK);
        }
        if !new.contains(Status::FEATURES_OK) {
            new.remove(Status::DRIVER_OK);
        }
        let start = new.contains(Status::DRIVER_OK) && !self.status.contains(Status::DRIVER_OK);
        self.status = new;
        if start { Action::Start } else { Action::None }
    }

    /// Whether the device can work with what the driver accepted (§2.2.2, §6.1).
    fn acceptable(&self) -> bool {
        let unoffered = self.accepted.difference(self.offered);
        !self.accepted_beyond && unoffered.is_empty() && self.accepted.contains(self.required)
    }
}

/// The 32 feature bits that a selector means.
fn half(features: Features, select: u32) -> u32 {
    let [a, b, c, d, e, f, g, h] = features.bits().to_le_bytes();
    match select {
        0 => u32::from_le_bytes([a, b, c, d]),
        1 => u32::from_le_bytes([e, f, g, h]),
        _ => 0,
    }
}

/// `whole` with its low or high half replaced.
fn with_half(whole: u64, high: bool, value: u32) -> u64 {
    let value = u64::from(value);
    if high { (whole & 0xffff_ffff) | value << 32 } else { (whole & !0xffff_ffff) | value }
}
