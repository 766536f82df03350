//! The virtio devices, a folder each, with the same file names in each.

pub mod blk;
pub mod rng;
pub mod vsock;
