//! How a driver finds and configures a device.

pub mod pci;
