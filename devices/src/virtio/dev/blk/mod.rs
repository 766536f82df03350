//! The block device (virtio 1.3 §5.2), read-only so far.

mod counters;
mod device;
mod disk;
mod spec;
#[cfg(test)]
mod tests;
mod worker;

pub use counters::{BlkCounters, BlkStats};
pub use device::Blk;
pub use disk::{Disk, DiskError};
