//! Feature bits, configuration and requests (virtio 1.3 §5.2.3 to §5.2.6). No logic.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::virtio::Features;

/// Configuration has the most segments of a request.
pub(super) const FEATURE_SEG_MAX: Features = Features::from_bits_retain(1 << 2);
/// The disk cannot be written.
pub(super) const FEATURE_RO: Features = Features::from_bits_retain(1 << 5);
/// Configuration has the block size.
pub(super) const FEATURE_BLK_SIZE: Features = Features::from_bits_retain(1 << 6);

/// Bytes in a sector: what addresses and the capacity count, whatever the block size.
pub(super) const SECTOR: u64 = 512;

/// Device configuration up to the block size.
#[derive(Debug, Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Config {
    /// In sectors.
    pub(super) capacity: u64,
    pub(super) size_max: u32,
    pub(super) seg_max: u32,
    pub(super) geometry: u32,
    pub(super) blk_size: u32,
}

/// What a request begins with, little-endian.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes)]
#[repr(C)]
pub(super) struct Header {
    pub(super) kind: u32,
    pub(super) reserved: u32,
    pub(super) sector: u64,
}

/// What a request asks for. Open: a driver may ask for anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind(pub(super) u32);

impl Kind {
    pub(super) const IN: Self = Kind(0);
    pub(super) const OUT: Self = Kind(1);
    pub(super) const GET_ID: Self = Kind(8);
}

/// Bytes that GET_ID writes: a string, without a NUL if it is that long.
pub(super) const ID_SIZE: usize = 20;

/// What a request ends with: one byte, written by the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status(pub(super) u8);

impl Status {
    pub(super) const OK: Self = Status(0);
    pub(super) const IO_ERROR: Self = Status(1);
    pub(super) const UNSUPPORTED: Self = Status(2);
}
