//! The split virtqueue's layout in memory (virtio 1.3 §2.7). No logic.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct virtq_desc` (§2.7.5).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Descriptor {
    /// Guest-physical address of the buffer.
    pub(super) addr: U64,
    /// Its length.
    pub(super) len: U32,
    /// `DESC_F_*`.
    pub(super) flags: U16,
    /// The next descriptor, with [`DESC_F_NEXT`].
    pub(super) next: U16,
}

/// Bytes in a descriptor.
pub(super) const DESC_SIZE: u64 = 16;
/// The chain goes on at `next` (VIRTQ_DESC_F_NEXT).
pub(super) const DESC_F_NEXT: u16 = 1;
/// The device writes the buffer, else reads it (VIRTQ_DESC_F_WRITE).
pub(super) const DESC_F_WRITE: u16 = 2;
/// The buffer is a table of descriptors (VIRTQ_DESC_F_INDIRECT).
pub(super) const DESC_F_INDIRECT: u16 = 4;

/// `struct virtq_used_elem` (§2.7.8).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct UsedElement {
    /// Head of the chain that was used.
    pub(super) id: U32,
    /// Bytes written into its device-writable part.
    pub(super) len: U32,
}

/// `avail.flags`: the driver wants no interrupts (§2.7.6, VIRTQ_AVAIL_F_NO_INTERRUPT).
pub(super) const AVAIL_F_NO_INTERRUPT: u16 = 1;
/// `used.flags`: the device wants no kicks (§2.7.8, VIRTQ_USED_F_NO_NOTIFY).
pub(super) const USED_F_NO_NOTIFY: u16 = 1;

/// Offset of `idx` in the driver area and in the device area; `flags` is at 0 in both.
pub(super) const RING_IDX: u64 = 2;
/// Offset of `ring[]` in the driver area and in the device area.
pub(super) const RING_ENTRIES: u64 = 4;
/// Bytes of an entry of the available ring.
pub(super) const AVAIL_ENTRY_SIZE: u64 = 2;
/// Bytes of an entry of the used ring.
pub(super) const USED_ENTRY_SIZE: u64 = 8;

/// Alignment of the descriptor table (§2.7).
pub(super) const DESC_ALIGN: u64 = 16;
/// Alignment of the available ring (§2.7).
pub(super) const AVAIL_ALIGN: u64 = 2;
/// Alignment of the used ring (§2.7).
pub(super) const USED_ALIGN: u64 = 4;
