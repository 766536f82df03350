//! Guest memory: its backing, its privacy, and the windows onto it.
//!
//! Three views of the same RAM, each for those who may have it:
//!
//! | view | who | may touch |
//! |---|---|---|
//! | [`GuestRam`] | board and launch flows | every page, before the guest runs; memory slots |
//! | [`SharedMemory`] | devices | shared pages only; a private page is refused, never read stale |
//! | [`Converter`] | the vCPU exit path | changes which pages are private |
//!
//! No Rust reference into guest memory is ever formed: all access copies through volatile or atomic
//! operations, so a value read once cannot change under its checks.

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

mod claims;
mod clock;
mod convert;
mod host;
mod prefault;
mod privacy;
mod ram;
mod shared;
mod stats;

pub use convert::{ConvertError, Converter, MemoryHolder, NoPrivateBacking, PrivateBacking, Target};
pub use host::HostMemory;
pub(crate) use host::resident;
pub use prefault::{PreFault, PrefaultError, prefault};
pub use privacy::PrivacyMap;
pub use ram::{GuestRam, RamError, RamRange};
pub use shared::{AccessError, SharedMemory};
pub use stats::{ConvertEvent, ConvertStats, DirectionStats, SIZE_CLASSES, TIMELINE_LEN};

/// Size of a guest page, in bytes. Conversions and launch updates are in whole pages.
pub const PAGE_SIZE: u64 = 4096;
