//! Vectored I/O between a socket and guest memory, without a copy of ours in between.
#![allow(
    unsafe_code,
    reason = "sendmsg and recvmsg straight from and into guest memory: std and rustix want slices, which \
              would be references to memory that the guest changes at any time"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use vm_memory::VolatileSlice;

/// Most slices of one call (`UIO_MAXIOV`).
const MAX_SLICES: usize = 1024;

/// Sends from guest memory; how much the socket took. Never blocks, never raises SIGPIPE.
pub(super) fn send(fd: BorrowedFd<'_>, from: &[VolatileSlice<'_>]) -> io::Result<usize> {
    let guards: Vec<_> = from.iter().take(MAX_SLICES).map(VolatileSlice::ptr_guard).collect();
    let mut slices: Vec<_> = guards
        .iter()
        // sendmsg only reads from what the iovec points to.
        .map(|g| libc::iovec { iov_base: g.as_ptr().cast_mut().cast(), iov_len: g.len() })
        .collect();
    let message = message(&mut slices);
    uninterrupted(|| {
        // SAFETY: the descriptor is borrowed for the call. `message` points to `slices`, which point to
        // mapped guest memory, valid for reads for as long as `guards` (and the caller's slices) live.
        // The kernel copies it without assuming that it stays the same.
        unsafe { libc::sendmsg(fd.as_raw_fd(), &message, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) }
    })
}

/// Receives into guest memory; how much there was, 0 at the end of the stream. Never blocks.
pub(super) fn receive(fd: BorrowedFd<'_>, into: &[VolatileSlice<'_>]) -> io::Result<usize> {
    let guards: Vec<_> = into.iter().take(MAX_SLICES).map(VolatileSlice::ptr_guard_mut).collect();
    let mut slices: Vec<_> =
        guards.iter().map(|g| libc::iovec { iov_base: g.as_ptr().cast(), iov_len: g.len() }).collect();
    let mut message = message(&mut slices);
    uninterrupted(|| {
        // SAFETY: the descriptor is borrowed for the call. `message` points to `slices`, which point to
        // mapped guest memory, valid for writes for as long as `guards` (and the caller's slices) live;
        // nothing in the process holds a reference to that memory. There is no room for control data, so
        // the kernel drops descriptors that a client may have sent.
        unsafe { libc::recvmsg(fd.as_raw_fd(), &mut message, libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC) }
    })
}

fn message(slices: &mut [libc::iovec]) -> libc::msghdr {
    libc::msghdr {
        msg_name: std::ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: slices.as_mut_ptr(),
        msg_iovlen: slices.len(),
        msg_control: std::ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    }
}

fn uninterrupted(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        // A negative number, and only that, is an error.
        match usize::try_from(call()) {
            Ok(n) => return Ok(n),
            Err(_) => {
                let e = io::Error::last_os_error();
                if e.kind() != io::ErrorKind::Interrupted {
                    return Err(e);
                }
            }
        }
    }
}
