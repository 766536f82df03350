//! A vsock connection to the host.
#![allow(unsafe_code)] // connect() with a sockaddr_vm, for which neither std nor rustix has a type

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

use crate::agent::{Transport, TransportError};

/// Longer than the broker waits for a whole handshake: it is the one to give up.
const READ_TIMEOUT: Duration = Duration::from_secs(35);
const RETRY: Duration = Duration::from_millis(200);

/// A connected stream.
#[derive(Debug)]
pub(super) struct Vsock(File);

impl Vsock {
    /// Connects, and tries again until `timeout` is over: the host may not be listening yet.
    pub(super) fn connect(cid: u32, port: u32, timeout: Duration) -> io::Result<Self> {
        let start = Instant::now();
        loop {
            match Self::connect_once(cid, port) {
                Ok(stream) => return Ok(stream),
                Err(error) if start.elapsed().saturating_add(RETRY) >= timeout => return Err(error),
                Err(_) => std::thread::sleep(RETRY),
            }
        }
    }

    fn connect_once(cid: u32, port: u32) -> io::Result<Self> {
        let fd = socket_with(AddressFamily::VSOCK, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        for kind in [sockopt::Timeout::Recv, sockopt::Timeout::Send] {
            sockopt::set_socket_timeout(&fd, kind, Some(READ_TIMEOUT))?;
        }
        // SAFETY: all fields of sockaddr_vm are integers, for which zero is a value.
        let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
        address.svm_family = libc::AF_VSOCK as libc::sa_family_t;
        address.svm_cid = cid;
        address.svm_port = port;
        let len = size_of::<libc::sockaddr_vm>() as libc::socklen_t;
        // SAFETY: `address` lives through the call and has `len` bytes; `fd` is open.
        let result = unsafe { libc::connect(fd.as_raw_fd(), (&raw const address).cast(), len) };
        if result == 0 { Ok(Self(File::from(fd))) } else { Err(io::Error::last_os_error()) }
    }
}

fn failed(error: &io::Error) -> TransportError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => TransportError::TimedOut,
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => TransportError::Closed,
        _ => TransportError::Failed(error.raw_os_error().unwrap_or(0)),
    }
}

impl Transport for Vsock {
    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.0.write_all(bytes).map_err(|e| failed(&e))
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, TransportError> {
        loop {
            match self.0.read(buffer) {
                Ok(0) => return Err(TransportError::Closed),
                Ok(count) => return Ok(count),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(failed(&e)),
            }
        }
    }
}
