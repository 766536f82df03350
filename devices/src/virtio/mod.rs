//! virtio 1.3 devices: their rings, their workers, the PCI transport, and the devices themselves.
//!
//! - [`queue`]: split virtqueues as the device sees them; everything from the ring is copied once and checked
//! - [`VirtioDevice`]: what a device is to its transport
//! - [`worker`]: the thread that owns a device's queues while it is active
//! - [`transport`]: how a driver finds and configures a device
//! - [`dev`]: the devices

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

pub mod dev;
mod device;
mod doorbell;
mod features;
pub mod queue;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod transport;
pub mod worker;

pub use device::{
    ActivateError, Activation, ActiveQueue, ConfigInterrupt, Failure, QueueInterrupt, Signals, VirtioDevice,
    read_config,
};
pub use doorbell::Doorbell;
pub use features::{DeviceType, Features};
