//! The Unix socket that host clients connect to, and the ones that the guest's connections go to.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags};

use snafu::ResultExt;

use super::super::config::{ListenSnafu, PathExistsSnafu, VsockError};
use super::super::spec::SocketType;

/// A listening socket; removed from the file system when dropped, if it was created here.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: OwnedFd,
    kind: SocketType,
    created: Option<Created>,
}

#[derive(Debug)]
struct Created {
    path: PathBuf,
    /// Device and inode: whoever took the path since keeps it.
    file: (u64, u64),
}

impl Listener {
    /// Creates the socket at `path`. What is there already is not touched.
    pub(crate) fn bind(path: &Path, kind: SocketType) -> Result<Listener, VsockError> {
        let address = SocketAddrUnix::new(path);
        let socket = address.and_then(|address| {
            let socket = new_socket(kind)?;
            rustix::net::bind(&socket, &address).map(|()| socket)
        });
        let socket = match socket {
            Err(Errno::ADDRINUSE) => return PathExistsSnafu { path }.fail(),
            other => other.map_err(io::Error::from).context(ListenSnafu { path })?,
        };
        let file = identity(path).context(ListenSnafu { path })?;
        let listener = Listener { socket, kind, created: Some(Created { path: path.to_owned(), file }) };
        // From here on, the file is removed if anything fails.
        rustix::net::listen(&listener.socket, BACKLOG)
            .map_err(io::Error::from)
            .context(ListenSnafu { path })?;
        Ok(listener)
    }

    /// A stream socket that somebody else bound and will remove.
    pub(crate) fn bound(socket: UnixListener, path: &Path) -> Result<Listener, VsockError> {
        socket.set_nonblocking(true).context(ListenSnafu { path })?;
        Ok(Listener { socket: socket.into(), kind: SocketType::STREAM, created: None })
    }

    /// What kind of sockets it accepts.
    pub(crate) fn kind(&self) -> SocketType {
        self.kind
    }

    /// The next client, non-blocking.
    pub(crate) fn accept(&self) -> Result<OwnedFd, Errno> {
        rustix::net::accept_with(&self.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
    }
}

/// Clients that may wait to be accepted, as the standard library has it; the kernel has its own limit.
const BACKLOG: i32 = 4096;

fn new_socket(kind: SocketType) -> Result<OwnedFd, Errno> {
    let kind = match kind {
        SocketType::SEQPACKET => rustix::net::SocketType::SEQPACKET,
        _ => rustix::net::SocketType::STREAM,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(created) = &self.created
            && identity(&created.path).is_ok_and(|file| file == created.file)
        {
            let _ = fs::remove_file(&created.path); // Nobody is left to be told.
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

/// A connection of the guest's to the host's `port`, on its way.
#[derive(Debug)]
pub(crate) struct Outgoing {
    fd: OwnedFd,
    kind: SocketType,
    address: SocketAddrUnix,
}

/// What came of trying to connect.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// The host's listener has it.
    Connected(OwnedFd, SocketType),
    /// The listener's queue is full: try again.
    Later(Outgoing),
}

impl Outgoing {
    /// A socket for `<path>_<port>`, not connected yet.
    pub(crate) fn new(path: &Path, port: u32, kind: SocketType) -> Result<Outgoing, Errno> {
        let mut name = path.as_os_str().as_bytes().to_vec();
        name.extend_from_slice(format!("_{port}").as_bytes());
        let address = SocketAddrUnix::new(name)?;
        Ok(Outgoing { fd: new_socket(kind)?, kind, address })
    }

    /// Tries to connect, without waiting.
    pub(crate) fn attempt(self) -> Result<Attempt, Errno> {
        match rustix::net::connect(&self.fd, &self.address) {
            Ok(()) => Ok(Attempt::Connected(self.fd, self.kind)),
            // A Unix socket has no connection in progress: it says that the queue is full (connect(2)).
            Err(Errno::AGAIN | Errno::INTR) => Ok(Attempt::Later(self)),
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_must_be_free_and_only_our_own_file_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v.sock");
        let ours = Listener::bind(&path, SocketType::STREAM).unwrap();
        assert!(matches!(Listener::bind(&path, SocketType::STREAM), Err(VsockError::PathExists { .. })));
        drop(ours);
        assert!(!path.exists());

        // A socket that nobody listens on any more is still somebody's file.
        drop(UnixListener::bind(&path).unwrap());
        assert!(matches!(Listener::bind(&path, SocketType::STREAM), Err(VsockError::PathExists { .. })));
        fs::remove_file(&path).unwrap();

        let ours = Listener::bind(&path, SocketType::STREAM).unwrap();
        fs::rename(&path, dir.path().join("moved")).unwrap();
        let theirs = UnixListener::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists(), "somebody else's file was removed");
        let theirs = Listener::bound(theirs, &path).unwrap();
        assert!(matches!(theirs.accept(), Err(Errno::AGAIN)));
        drop(theirs);
        assert!(path.exists(), "a file that we did not create was removed");
        let nowhere = dir.path().join("no/such/dir");
        assert!(matches!(Listener::bind(&nowhere, SocketType::SEQPACKET), Err(VsockError::Listen { .. })));
    }
}
