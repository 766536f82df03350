//! Device types and feature bits.

use bitflags::bitflags;

/// A virtio device type (virtio 1.3 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceType(pub u16);

impl DeviceType {
    /// Network card (§5.1).
    pub const NET: Self = DeviceType(1);
    /// Block device (§5.2).
    pub const BLOCK: Self = DeviceType(2);
    /// Console (§5.3).
    pub const CONSOLE: Self = DeviceType(3);
    /// Entropy device (§5.4).
    pub const ENTROPY: Self = DeviceType(4);
    /// Socket device (§5.10).
    pub const VSOCK: Self = DeviceType(19);
    /// File system device (§5.11).
    pub const FS: Self = DeviceType(26);
}

bitflags! {
    /// Feature bits, offered or negotiated. Open: bits 0 to 23 and 50 to 127 mean what the device type
    /// says (virtio 1.3 §2.2), the names here are those that all devices share (§6).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Features: u64 {
        /// Indirect descriptors (§2.7.5.3).
        const RING_INDIRECT_DESC = 1 << 28;
        /// Notification suppression by index (§2.7.7, §2.7.10).
        const RING_EVENT_IDX = 1 << 29;
        /// Not a legacy device.
        const VERSION_1 = 1 << 32;
        /// The device's memory accesses are limited and translated by the platform: for a confidential
        /// guest, that buffers must be in shared pages.
        const ACCESS_PLATFORM = 1 << 33;
        const _ = !0;
    }
}
