//! Registers of a type 0 configuration header (PCI Local Bus 3.0 §6.1) and of MSI-X (§6.8.2). No logic.

/// Vendor id.
pub(super) const VENDOR: u16 = 0x00;
/// Device id.
pub(super) const DEVICE: u16 = 0x02;
/// Command.
pub(super) const COMMAND: u16 = 0x04;
/// Status.
pub(super) const STATUS: u16 = 0x06;
/// Revision id, then three bytes of class code.
pub(super) const REVISION: u16 = 0x08;
/// Cache line size: writable and without effect.
pub(super) const CACHE_LINE: u16 = 0x0c;
/// The first of six base address registers.
pub(super) const BAR0: u16 = 0x10;
/// Subsystem vendor id.
pub(super) const SUBSYSTEM_VENDOR: u16 = 0x2c;
/// Subsystem id.
pub(super) const SUBSYSTEM: u16 = 0x2e;
/// Offset of the first capability.
pub(super) const CAPABILITIES: u16 = 0x34;
/// Interrupt line: writable and without effect; interrupt pin, after it, stays 0: there is none.
pub(super) const INTERRUPT_LINE: u16 = 0x3c;
/// The first byte after the header.
pub(super) const HEADER_END: u16 = 0x40;

/// Command: the function decodes memory accesses.
pub(super) const COMMAND_MEMORY: u16 = 1 << 1;
/// Command bits that can be written: memory, bus master, parity, SERR, INTx disable.
pub(super) const COMMAND_WRITABLE: u16 = COMMAND_MEMORY | 1 << 2 | 1 << 6 | 1 << 8 | 1 << 10;
/// Status: there is a list of capabilities.
pub(super) const STATUS_CAPABILITIES: u16 = 1 << 4;

/// Capability id of vendor-specific capabilities.
pub(crate) const CAP_VENDOR: u8 = 0x09;
/// Capability id of MSI-X.
pub(super) const CAP_MSIX: u8 = 0x11;

/// MSI-X message control: the function is enabled for MSI-X.
pub(super) const MSIX_ENABLE: u16 = 1 << 15;
/// MSI-X message control: all vectors are masked.
pub(super) const MSIX_FUNCTION_MASK: u16 = 1 << 14;
/// MSI-X vector control: this vector is masked.
pub(super) const MSIX_VECTOR_MASK: u32 = 1;
/// Bytes in an entry of the MSI-X table.
pub(super) const MSIX_ENTRY_SIZE: u64 = 16;
/// The most vectors that a function may have.
pub(super) const MSIX_MAX_VECTORS: u16 = 2048;
