//! The host's side of the device.

pub mod hybrid;
