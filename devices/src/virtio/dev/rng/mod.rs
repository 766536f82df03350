//! The entropy device (virtio 1.3 §5.4).

mod counters;
mod device;
#[cfg(test)]
mod tests;
mod worker;

pub use counters::{RngCounters, RngStats};
pub use device::Rng;
