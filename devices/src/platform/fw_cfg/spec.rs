//! Numbers of the interface (QEMU's docs/specs/fw_cfg and include/standard-headers/linux/qemu_fw_cfg.h,
//! edk2's OvmfPkg/Include/IndustryStandard/QemuFwCfg.h). No logic.

/// An item's number. Open: a guest may select any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u16);

impl Key {
    /// `QEMU`, by which the interface is recognised.
    pub const SIGNATURE: Self = Key(0x00);
    /// What the interface can do: a bit set.
    pub const FEATURES: Self = Key(0x01);
    /// Number of vCPUs that are there at the start, 16 bits.
    pub const CPUS: Self = Key(0x05);
    /// Address at which an old loader puts the kernel, 32 bits.
    pub const KERNEL_ADDRESS: Self = Key(0x07);
    /// Bytes of the kernel behind its setup part, 32 bits.
    pub const KERNEL_SIZE: Self = Key(0x08);
    /// Bytes of the initrd, 32 bits; 0 if there is none.
    pub const INITRD_SIZE: Self = Key(0x0b);
    /// Number of vCPUs that there can be, 16 bits.
    pub const MAX_CPUS: Self = Key(0x0f);
    /// The kernel behind its setup part.
    pub const KERNEL_DATA: Self = Key(0x11);
    /// The initrd.
    pub const INITRD_DATA: Self = Key(0x12);
    /// Bytes of the command line with its NUL, 32 bits.
    pub const CMDLINE_SIZE: Self = Key(0x14);
    /// The command line and its NUL.
    pub const CMDLINE_DATA: Self = Key(0x15);
    /// Bytes of the kernel's setup part, 32 bits.
    pub const SETUP_SIZE: Self = Key(0x17);
    /// The kernel's setup part: boot sector and setup code, whole sectors.
    pub const SETUP_DATA: Self = Key(0x18);
    /// The directory of named items.
    pub const DIRECTORY: Self = Key(0x19);
    /// The first number that named items get.
    pub const FIRST_FILE: Self = Key(0x20);
}

/// What the signature item holds.
pub(super) const SIGNATURE: &[u8] = b"QEMU";
/// The traditional interface (bit 0) and DMA (bit 1).
pub(super) const FEATURES: u32 = 1 | 1 << 1;

/// Bytes of a name in the directory, with its NUL.
pub(super) const NAME_SIZE: usize = 56;
/// Named items that there may be: as many as QEMU's own smallest limit.
pub(super) const MAX_FILES: u16 = 0x20;

/// What the DMA address register reads as, most significant byte first.
pub(super) const DMA_SIGNATURE: [u8; 8] = *b"QEMU CFG";
/// Bytes of the structure that a DMA address points to: control, length, address.
pub(super) const DMA_STRUCT: usize = 16;

/// Bits of the structure's control field; the item's number is in the upper half.
pub(super) mod control {
    /// Set by the device: the transfer failed.
    pub(in super::super) const ERROR: u32 = 1;
    /// Copy from the item to memory.
    pub(in super::super) const READ: u32 = 1 << 1;
    /// Move on in the item.
    pub(in super::super) const SKIP: u32 = 1 << 2;
    /// Select the item in the upper half first.
    pub(in super::super) const SELECT: u32 = 1 << 3;
    /// Copy from memory to the item. No item of ours can be written.
    pub(in super::super) const WRITE: u32 = 1 << 4;
}
