//! What a device is to its transport, and what a transport hands to a device that goes active.

use std::sync::Arc;

use cloister_coco::memory::SharedMemory;
use snafu::Snafu;

use super::queue::{Queue, QueueError};
use super::{DeviceType, Doorbell, Features};

/// A virtio device, without its transport.
///
/// The transport calls these with its own lock held, from vCPU threads: none may block for longer than
/// it takes a worker to stop. A worker never calls back into the transport but through [`Signals`].
pub trait VirtioDevice: Send {
    /// Which type of device this is.
    fn device_type(&self) -> DeviceType;

    /// The features of this device type that are offered. The transport adds the ring's and its own.
    fn features(&self) -> Features {
        Features::empty()
    }

    /// The largest size of each queue (powers of two, at most [`super::queue::MAX_QUEUE_SIZE`]).
    fn queue_sizes(&self) -> &[u16];

    /// The driver reads device configuration space. Any offset, any length; what the device does not
    /// set stays zero. [`read_config`] does it for a configuration held as bytes.
    fn config_read(&self, offset: u64, data: &mut [u8]) {
        let _ = (offset, data);
    }

    /// The driver writes device configuration space. Any offset, any length.
    fn config_write(&mut self, offset: u64, data: &[u8]) {
        let _ = (offset, data);
    }

    /// The driver is ready (DRIVER_OK): takes the queues and begins to serve them.
    ///
    /// An error makes the transport set DEVICE_NEEDS_RESET; the device must then be as after
    /// [`VirtioDevice::reset`].
    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError>;

    /// Stops serving and forgets what the driver negotiated. When this returns, nothing of the device's
    /// touches guest memory any more, and it can be activated again. Also called when not active.
    fn reset(&mut self);
}

/// Copies from `config`, the device's configuration space, what the driver asked for.
pub fn read_config(config: &[u8], offset: u64, data: &mut [u8]) {
    let from = usize::try_from(offset).ok().and_then(|o| config.get(o..)).unwrap_or_default();
    for (to, from) in data.iter_mut().zip(from) {
        *to = *from;
    }
}

/// Everything a device needs while it is active.
#[derive(Debug)]
pub struct Activation {
    /// The device's window onto guest memory.
    pub mem: SharedMemory,
    /// What was negotiated.
    pub features: Features,
    /// The queues, by index; `None` where the driver enabled none.
    pub queues: Vec<Option<ActiveQueue>>,
    /// Tells the driver that configuration space changed.
    pub config: ConfigInterrupt,
    /// Tells the driver that the device needs a reset.
    pub failure: Failure,
}

impl Activation {
    /// Takes queue `index`, which the device cannot do without.
    pub fn take_queue(&mut self, index: u16) -> Result<ActiveQueue, ActivateError> {
        let slot = self.queues.get_mut(usize::from(index));
        slot.and_then(Option::take).ok_or(ActivateError::QueueMissing { index })
    }
}

/// A queue that the driver enabled, and the two ways of telling each other about it.
#[derive(Debug)]
pub struct ActiveQueue {
    /// The ring.
    pub queue: Queue,
    /// Rung by the driver.
    pub kick: Arc<Doorbell>,
    /// The interrupt of this queue.
    pub interrupt: QueueInterrupt,
}

impl ActiveQueue {
    /// Interrupts the driver if something was completed since last time and the driver wants to know.
    /// To be called once after a batch of completions.
    pub fn notify_driver(&mut self) -> Result<(), QueueError> {
        if self.queue.needs_interrupt()? {
            self.interrupt.signal();
        }
        Ok(())
    }
}

/// Why a device did not become active.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub))]
pub enum ActivateError {
    /// The driver did not enable a queue that the device needs.
    #[snafu(display("the driver is ready but did not enable queue {index}"))]
    QueueMissing {
        /// The queue.
        index: u16,
    },
    /// A queue's configuration was refused.
    #[snafu(display("queue {index}: {source}"))]
    Queue {
        /// The queue.
        index: u16,
        /// What is wrong with it.
        source: QueueError,
    },
    /// The host lacks something: threads, file descriptors, a back end.
    #[snafu(display("the host cannot serve the device: {source}"))]
    Host {
        /// What went wrong.
        source: std::io::Error,
    },
}

impl From<std::io::Error> for ActivateError {
    fn from(source: std::io::Error) -> Self {
        ActivateError::Host { source }
    }
}

/// How a device's worker reaches its driver; the transport implements it, device tests fake it.
///
/// Called from worker threads; must not wait for the transport's own lock, which is held while a worker
/// is told to stop.
pub trait Signals: Send + Sync {
    /// Buffers of queue `index` were used (virtio 1.3 §2.7.7.2).
    fn queue(&self, index: u16);
    /// Configuration space changed (§2.4, §4.1.5.4).
    fn config_changed(&self);
    /// The device cannot go on: DEVICE_NEEDS_RESET (§2.1.2).
    fn needs_reset(&self);
}

macro_rules! opaque_debug {
    ($t:ident) => {
        impl std::fmt::Debug for $t {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($t)).finish_non_exhaustive()
            }
        }
    };
}

/// The interrupt of one queue.
#[derive(Clone)]
pub struct QueueInterrupt {
    signals: Arc<dyn Signals>,
    index: u16,
}

impl QueueInterrupt {
    /// The interrupt of queue `index`.
    pub fn new(signals: Arc<dyn Signals>, index: u16) -> Self {
        QueueInterrupt { signals, index }
    }

    /// Interrupts the driver, without asking whether it wants to be.
    pub fn signal(&self) {
        self.signals.queue(self.index);
    }
}
opaque_debug!(QueueInterrupt);

/// The interrupt for a change of configuration space.
#[derive(Clone)]
pub struct ConfigInterrupt {
    signals: Arc<dyn Signals>,
}

impl ConfigInterrupt {
    /// The configuration interrupt behind `signals`.
    pub fn new(signals: Arc<dyn Signals>) -> Self {
        ConfigInterrupt { signals }
    }

    /// Tells the driver that configuration space changed; call after the change is visible.
    pub fn signal(&self) {
        self.signals.config_changed();
    }
}
opaque_debug!(ConfigInterrupt);

/// Sets DEVICE_NEEDS_RESET: for errors of a whole queue, never for those of one request.
#[derive(Clone)]
pub struct Failure {
    signals: Arc<dyn Signals>,
}

impl Failure {
    /// The failure flag behind `signals`.
    pub fn new(signals: Arc<dyn Signals>) -> Self {
        Failure { signals }
    }

    /// Declares the device broken until the driver resets it.
    pub fn needs_reset(&self) {
        self.signals.needs_reset();
    }
}
opaque_debug!(Failure);
