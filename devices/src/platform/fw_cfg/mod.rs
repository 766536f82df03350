//! fw_cfg: what firmware wants to know of its machine, and the kernel that it is to boot
//! (QEMU's docs/specs/fw_cfg).
//!
//! ```text
//! 0x510  selector, 16 bits, written
//! 0x511  data, 8 bits, read
//! 0x514  DMA address, upper 32 bits, big-endian
//! 0x518  DMA address, lower 32 bits, big-endian; writing it starts the transfer
//! ```
//!
//! Items are read-only. What is read behind an item's end, or from an item that is not there, is zero.

mod device;
mod items;
mod spec;
#[cfg(test)]
mod tests;

pub use device::{FwCfg, FwCfgCounters, FwCfgStats};
pub use items::{Blob, Content, FwCfgItems, ItemError};
pub use spec::Key;
