//! Virtio 1.3 over PCI, from the driver's side, without touching a BAR.

mod device;
mod queue;
mod window;

pub use device::{Device, Doorbell, feature};
pub use queue::{Part, QUEUE_SIZE, Queue};
