//! Whether a quote service answers the door. Nothing is said to it.
#![allow(unsafe_code, reason = "no crate at hand knows addresses of AF_VSOCK")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_error;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::doctor::answer::{Answer, QuoteService};

/// Where Intel's service listens, as it is packaged: its Unix socket, and its port on vsock of the host (2).
const USUAL: [&str; 2] = ["unix:/var/run/tdx-qgs/qgs.socket", "vsock:2:4050"];
/// A service on this machine takes a connection at once or not at all.
const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

pub(super) fn ask_usual_places() -> QuoteService {
    let [first, second] = USUAL.map(ask);
    // The first is the one to name when neither answers.
    if first.connect.value().is_none() && second.connect.value().is_some() { second } else { first }
}

pub(super) fn ask(address: &str) -> QuoteService {
    let connect = if let Some(path) = address.strip_prefix("unix:") {
        UnixStream::connect(path).map(|_| true)
    } else if let Some((cid, port)) = address.strip_prefix("vsock:").and_then(|a| a.split_once(':')) {
        match (cid.parse(), port.parse()) {
            (Ok(cid), Ok(port)) => vsock(cid, port).map(|()| true),
            _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        }
    } else {
        Err(io::Error::from_raw_os_error(libc::EINVAL))
    };
    QuoteService { address: address.to_owned(), connect: Answer::from(connect) }
}

fn vsock(cid: u32, port: u32) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::VSOCK, SocketType::STREAM, flags, None)?;
    let address = libc::sockaddr_vm {
        svm_family: libc::AF_VSOCK as libc::sa_family_t,
        svm_reserved1: 0,
        svm_port: port,
        svm_cid: cid,
        svm_zero: [0; 4],
    };
    let size = size_of_val(&address) as libc::socklen_t;
    // SAFETY: `address` is a live address of the socket's family, and `size` its size.
    let ret = unsafe { libc::connect(socket.as_raw_fd(), std::ptr::from_ref(&address).cast(), size) };
    if ret == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() != Some(libc::EINPROGRESS) {
        return Err(error);
    }
    let mut ready = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::OUT)];
    match poll(&mut ready, Some(&PATIENCE))? {
        0 => Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)),
        _ => Ok(socket_error(&socket)?.map_err(io::Error::from)?),
    }
}
