//! PCI: one root bus, the functions on it, and the three ways a guest reaches them.
//!
//! | way | [`BusDevice`](crate::bus::BusDevice) | where |
//! |---|---|---|
//! | configuration space by ports | [`ConfigPorts`] | 0xcf8 to 0xcff |
//! | configuration space by memory | [`Ecam`] | the ECAM window |
//! | BARs | [`PciMmio`] | the 32-bit window |
//!
//! Not every guest has firmware to place BARs: [`PciRoot::add`] does, by the configuration accesses that
//! firmware would make. A guest may move them afterwards, inside the window.
//!
//! Locks, in the order in which they are taken; nobody holds one and takes an earlier one:
//!
//! 1. the bus's, around each of the devices above
//! 2. a function's (one at a time)
//! 3. the root's map of BARs (held for look-ups and changes only, never while a function is called)
//! 4. a function's MSI-X table; workers take this one alone, so a function may wait for its worker

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod access;
mod config;
mod function;
mod host_bridge;
mod lpc_bridge;
mod msix;
mod pvpanic;
mod root;
mod spec;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use access::{ConfigPorts, Ecam, PciMmio};
pub use config::{BarWindow, ConfigSpace, Identity, LayoutError};
pub use function::PciFunction;
pub use host_bridge::HostBridge;
pub use lpc_bridge::LpcBridge;
pub use msix::{Msix, MsixCounters, MsixStats};
pub use pvpanic::{PanicEvents, Pvpanic};
pub use root::{PciError, PciRoot, Slot};
pub(crate) use spec::CAP_VENDOR;
