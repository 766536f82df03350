//! What a guest sees: virtio devices over PCI, and the platform's own devices.
//!
//! Devices never see a KVM file descriptor. They reach the guest's memory through
//! [`cloister_coco::memory::SharedMemory`] only, and the rest of the machine through three small
//! traits that the board implements: [`irq::MsiVector`], [`irq::IrqLine`] and [`notify::DoorbellRegistry`].

pub mod bus;
pub mod irq;
pub mod limit;
pub mod notify;
pub mod pci;
pub mod platform;
pub mod virtio;
