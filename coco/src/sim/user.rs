//! Access to the caller's memory, as the kernel has it: commands carry addresses, not references.
#![allow(unsafe_code, reason = "commands carry addresses of our own memory, as they do for the kernel")]

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Copies a `T` from `address`; EFAULT for address 0.
///
/// The callers pass only addresses that [`crate::snp::SevIoctl`] and [`crate::tdx::TdxIoctl`] promise to be
/// live: a command's struct, its tail as long as the struct says, and the pages that it names.
pub(super) fn read<T: FromBytes>(address: u64) -> Result<T, i32> {
    if address == 0 {
        return Err(libc::EFAULT);
    }
    // SAFETY: by the ioctl traits' contract the address is that of a live `T` (see above); nothing about
    // its alignment is asked, and any bytes are a valid `T`.
    Ok(unsafe { (address as *const T).read_unaligned() })
}

/// Copies `value` to `address`, which [`read`] took before or which lies in the tail behind it.
pub(super) fn write<T: IntoBytes + Immutable + Copy>(address: u64, value: &T) {
    // SAFETY: by the ioctl traits' contract a command's struct and its tail are live and writable.
    unsafe { (address as *mut T).write_unaligned(*value) }
}
