//! Doorbells: guest writes that the kernel turns into an event without an exit to us.

use std::io;
use std::os::fd::BorrowedFd;

/// Where a guest's write rings an event (an ioeventfd). The board implements it over KVM.
///
/// Registration is an optimisation: a write that still arrives as an exit must have the same effect.
pub trait DoorbellRegistry: Send + Sync {
    /// From now on, any write to guest-physical `address` signals `event` (an eventfd).
    fn register(&self, address: u64, event: BorrowedFd<'_>) -> io::Result<()>;
    /// Undoes [`DoorbellRegistry::register`] with the same arguments.
    fn unregister(&self, address: u64, event: BorrowedFd<'_>) -> io::Result<()>;
}
