//! The PCI function: configuration space, BAR, and the device behind them.

use std::sync::Arc;

use cloister_coco::memory::SharedMemory;
use snafu::Snafu;

use super::doorbells::Doorbells;
use super::layout::{
    BAR, BAR_SIZE, COMMON, COMMON_LEN, DEVICE, DEVICE_LEN, ISR, ISR_LEN, MAX_QUEUES, MSIX_PENDING,
    MSIX_PENDING_LEN, MSIX_TABLE, MSIX_TABLE_LEN, NOTIFY, NOTIFY_MULTIPLIER, add_capabilities,
};
use super::registers::{Action, Registers, Status};
use super::signals::PciSignals;
use super::window::{Access, Window};
use crate::irq::MsiAllocator;
use crate::limit::LogLimit;
use crate::notify::DoorbellRegistry;
use crate::pci::{BarWindow, ConfigSpace, Identity, LayoutError, Msix, MsixStats, PciFunction};
use crate::virtio::queue::{Queue, QueueCounters, QueueStats};
use crate::virtio::{
    ActivateError, Activation, ActiveQueue, ConfigInterrupt, DeviceType, Failure, Features, QueueInterrupt,
    Signals, VirtioDevice,
};

/// The vendor of all virtio devices (virtio 1.3 §4.1.2).
const VENDOR: u16 = 0x1af4;
/// Added to the device type gives the PCI device id (§4.1.2.1).
const DEVICE_BASE: u16 = 0x1040;
/// Not a transitional device (§4.1.2.1: 1 or higher).
const REVISION: u8 = 1;
/// Subsystem id of a device that is not transitional (§4.1.2.1: 0x40 or higher).
const SUBSYSTEM: u16 = 0x1100;

/// What the machine gives to each of its devices.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// Guest memory, as devices may see it.
    pub mem: &'a SharedMemory,
    /// Where interrupt vectors come from.
    pub msi: &'a dyn MsiAllocator,
    /// Who rings doorbells without an exit.
    pub doorbells: &'a Arc<dyn DoorbellRegistry>,
    /// Offers ACCESS_PLATFORM, and refuses a driver that does not accept it: for confidential guests.
    pub access_platform: bool,
}

/// Why a device could not be made: the host's or our own fault.
#[derive(Debug, Snafu)]
pub enum TransportError {
    /// A device with more queues than there are vectors for.
    #[snafu(display("a device of {queues} queues, where {MAX_QUEUES} is the most"))]
    TooManyQueues {
        /// Its number of queues.
        queues: usize,
    },
    /// Configuration space cannot be laid out.
    #[snafu(context(false), display("{source}"))]
    Layout {
        /// Why.
        source: LayoutError,
    },
    /// No interrupt vectors, or no file descriptors.
    #[snafu(context(false), display("{source}"))]
    Host {
        /// What went wrong.
        source: std::io::Error,
    },
}

/// A virtio device on the PCI bus.
pub struct VirtioPci {
    space: ConfigSpace,
    window: Window,
    msix_capability: u16,
    registers: Registers,
    signals: Arc<PciSignals>,
    doorbells: Doorbells,
    mem: SharedMemory,
    counters: Vec<Arc<QueueCounters>>,
    device: Box<dyn VirtioDevice>,
    log: LogLimit,
}

impl VirtioPci {
    /// Puts `device` behind a PCI function, not yet on a bus.
    pub fn new(device: Box<dyn VirtioDevice>, env: &Environment<'_>) -> Result<Self, TransportError> {
        let queues = device.queue_sizes().len();
        let count = u16::try_from(queues).ok().filter(|&n| n <= MAX_QUEUES);
        let count = count.ok_or(TransportError::TooManyQueues { queues })?;
        let msix = Msix::new(env.msi, count.saturating_add(1))?;
        let mut space = ConfigSpace::new(identity(device.device_type()));
        space.add_bar(BAR, BAR_SIZE)?;
        let [table, pending] = [MSIX_TABLE, MSIX_PENDING].map(|o| u32::try_from(o).unwrap_or(0));
        let msix_capability = msix.add_capability(&mut space, BAR, table, pending)?;
        let window = Window { capability: add_capabilities(&mut space, count)? };
        let mut required = Features::VERSION_1;
        required.set(Features::ACCESS_PLATFORM, env.access_platform);
        let ring = Features::RING_EVENT_IDX | Features::RING_INDIRECT_DESC;
        let registers = Registers::new(device.features() | ring | required, required, device.queue_sizes());
        Ok(VirtioPci {
            space,
            window,
            msix_capability,
            registers,
            signals: Arc::new(PciSignals::new(msix, queues)),
            doorbells: Doorbells::new(Arc::clone(env.doorbells), queues)?,
            mem: env.mem.clone(),
            counters: (0..queues).map(|_| Arc::default()).collect(),
            device,
            log: LogLimit::default(),
        })
    }

    /// Device status, as the driver reads it.
    pub fn status(&self) -> Status {
        self.registers.status(&self.signals)
    }

    /// What each queue has seen, over all resets.
    pub fn queue_stats(&self) -> Vec<QueueStats> {
        self.counters.iter().map(|c| c.stats()).collect()
    }

    /// What became of the interrupts.
    pub fn msix_stats(&self) -> MsixStats {
        self.signals.msix.stats()
    }

    /// Stops the device and forgets what the driver set up, as the driver's own reset does.
    pub fn reset(&mut self) {
        // First the worker, who signals; it takes none of the locks that our callers hold.
        self.device.reset();
        self.registers.reset();
        self.signals.reset();
    }

    /// The driver is ready: activates the device, or declares that it needs a reset.
    fn start(&mut self) {
        let started = self.activation().and_then(|activation| self.device.activate(activation));
        if let Err(e) = started {
            if let Some(suppressed) = self.log.allow() {
                let kind = self.device.device_type().0;
                tracing::warn!(device = kind, suppressed, "device cannot be activated: {e}");
            }
            self.device.reset();
            self.signals.needs_reset();
        }
    }

    fn activation(&self) -> Result<Activation, ActivateError> {
        let signals: Arc<dyn Signals> = self.signals.clone();
        let mut queues = Vec::new();
        for ((index, config), counters) in (0u16..).zip(self.registers.queue_configs()).zip(&self.counters) {
            let (Some(config), Some(kick)) = (config, self.doorbells.bell(index)) else {
                queues.push(None);
                continue;
            };
            let queue = Queue::with_counters(config, &self.mem, Arc::clone(counters))
                .map_err(|source| ActivateError::Queue { index, source })?;
            let interrupt = QueueInterrupt::new(Arc::clone(&signals), index);
            queues.push(Some(ActiveQueue { queue, kick: Arc::clone(kick), interrupt }));
        }
        Ok(Activation {
            mem: self.mem.clone(),
            features: self.registers.features(),
            queues,
            config: ConfigInterrupt::new(Arc::clone(&signals)),
            failure: Failure::new(signals),
        })
    }

    fn region_read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let Some(at) = within(offset, COMMON, COMMON_LEN) {
            self.registers.read(at, data, &self.signals);
        } else if let Some(at) = within(offset, ISR, ISR_LEN) {
            if let (0, Some(first)) = (at, data.first_mut()) {
                *first = self.signals.take_isr();
            }
        } else if let Some(at) = within(offset, DEVICE, DEVICE_LEN) {
            self.device.config_read(at, data);
        } else if let Some(at) = within(offset, MSIX_TABLE, MSIX_TABLE_LEN) {
            self.signals.msix.table_read(at, data);
        } else if let Some(at) = within(offset, MSIX_PENDING, MSIX_PENDING_LEN) {
            self.signals.msix.pending_read(at, data);
        }
    }

    fn region_write(&mut self, offset: u64, data: &[u8]) {
        if let Some(at) = within(offset, COMMON, COMMON_LEN) {
            match self.registers.write(at, data, &self.signals) {
                Action::None => {}
                Action::Reset => self.reset(),
                Action::Start => self.start(),
            }
        } else if let Some(at) = within(offset, DEVICE, DEVICE_LEN) {
            self.device.config_write(at, data);
        } else if let Some(at) = within(offset, NOTIFY, MSIX_TABLE.saturating_sub(NOTIFY)) {
            // Which queue is said by the address; what is written says nothing more (§4.1.5.2).
            let queue = at.checked_div(u64::from(NOTIFY_MULTIPLIER)).and_then(|q| u16::try_from(q).ok());
            if let Some(bell) = queue.and_then(|q| self.doorbells.bell(q)) {
                bell.ring();
            }
        } else if let Some(at) = within(offset, MSIX_TABLE, MSIX_TABLE_LEN) {
            self.signals.msix.table_write(at, data);
        }
    }
}

impl PciFunction for VirtioPci {
    fn space(&self) -> &ConfigSpace {
        &self.space
    }

    fn space_mut(&mut self) -> &mut ConfigSpace {
        &mut self.space
    }

    fn config_read(&mut self, offset: u16, data: &mut [u8]) {
        if let Some(Access { offset, len }) = self.window.access(&self.space, offset) {
            let mut value = [0; 4];
            if let Some(value) = value.get_mut(..len) {
                self.region_read(offset, value);
                self.space.set(self.window.data(), value);
            }
        }
        self.space.read(offset, data);
    }

    fn config_write(&mut self, offset: u16, data: &[u8]) {
        self.space.write(offset, data);
        if let Some(Access { offset, len }) = self.window.access(&self.space, offset) {
            let mut value = [0; 4];
            self.space.read(self.window.data(), &mut value);
            if let Some(value) = value.get(..len) {
                self.region_write(offset, value);
            }
        }
        self.signals.msix.config_written(&self.space, self.msix_capability);
    }

    fn bar_read(&mut self, _bar: u8, offset: u64, data: &mut [u8]) {
        self.region_read(offset, data);
    }

    fn bar_write(&mut self, _bar: u8, offset: u64, data: &[u8]) {
        self.region_write(offset, data);
    }

    fn bars_moved(&mut self, windows: &[BarWindow]) {
        self.doorbells.place(windows.iter().find(|w| w.bar == BAR).map(|w| w.base));
    }
}

impl std::fmt::Debug for VirtioPci {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VirtioPci")
            .field("device", &self.device.device_type())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// `offset` as counted from `start`, if it is in `[start, start + len)`.
fn within(offset: u64, start: u64, len: u64) -> Option<u64> {
    offset.checked_sub(start).filter(|&at| at < len)
}

fn identity(kind: DeviceType) -> Identity {
    // The class tells nothing that the device id does not, but guests show it to their users.
    let class = match kind {
        DeviceType::NET => 0x02_0000,
        DeviceType::BLOCK | DeviceType::FS => 0x01_8000,
        DeviceType::CONSOLE => 0x07_8000,
        _ => 0xff_0000,
    };
    Identity {
        vendor: VENDOR,
        device: DEVICE_BASE.saturating_add(kind.0),
        revision: REVISION,
        class,
        subsystem_vendor: VENDOR,
        subsystem: SUBSYSTEM,
    }
}
