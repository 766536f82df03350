//! Shared locks on open files, of the kind that belongs to the open file and not to the process.
#![allow(unsafe_code, reason = "rustix has no locks on open file descriptions")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Files that nobody who keeps the rules changes while this lives.
#[derive(Debug)]
pub struct HeldLocks {
    /// A lock goes with the last descriptor of its open file.
    files: Vec<File>,
}

impl HeldLocks {
    /// No locks.
    pub fn none() -> Self {
        HeldLocks { files: Vec::new() }
    }

    /// Whether anything is locked.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(super) fn of(files: Vec<File>) -> Self {
        HeldLocks { files }
    }
}

/// Takes a shared lock on all of `file`, or says at once that somebody holds it exclusively
/// ([`io::ErrorKind::WouldBlock`]).
pub(super) fn lock_shared(file: &File) -> io::Result<()> {
    lock(file, libc::F_RDLCK)
}

fn lock(file: &File, kind: libc::c_int) -> io::Result<()> {
    // The numbers are small: the fields are only narrower than the constants' types.
    let request = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: F_OFD_SETLK reads a struct flock, which `request` is, and keeps no pointer.
    let ret = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const request) };
    if ret == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        e if e.raw_os_error() == Some(libc::EACCES) => Err(io::ErrorKind::WouldBlock.into()),
        e => Err(e),
    }
}

#[cfg(test)]
pub(super) fn lock_exclusive(file: &File) -> io::Result<()> {
    lock(file, libc::F_WRLCK)
}
