//! The Unix socket that host clients connect to, and the ones that the guest's connections go to.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::super::config::{ListenSnafu, VsockError};
use snafu::ResultExt;

/// A listening socket; removed from the file system when dropped, if it was created here.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: UnixListener,
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
    pub(crate) fn bind(path: &Path) -> Result<Listener, VsockError> {
        let socket = match UnixListener::bind(path) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
                return Err(VsockError::PathExists { path: path.to_owned() });
            }
            other => other.context(ListenSnafu { path })?,
        };
        let file = identity(path).context(ListenSnafu { path })?;
        let created = Some(Created { path: path.to_owned(), file });
        Listener { socket, created }.non_blocking(path)
    }

    /// A socket that somebody else bound and will remove.
    pub(crate) fn bound(socket: UnixListener, path: &Path) -> Result<Listener, VsockError> {
        Listener { socket, created: None }.non_blocking(path)
    }

    fn non_blocking(self, path: &Path) -> Result<Listener, VsockError> {
        self.socket.set_nonblocking(true).context(ListenSnafu { path })?;
        Ok(self)
    }

    /// The next client, non-blocking.
    pub(crate) fn accept(&self) -> Result<OwnedFd, Errno> {
        rustix::net::accept_with(&self.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
    }
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
    address: SocketAddrUnix,
}

/// What came of trying to connect.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// The host's listener has it.
    Connected(OwnedFd),
    /// The listener's queue is full: try again.
    Later(Outgoing),
}

impl Outgoing {
    /// A socket for `<path>_<port>`, not connected yet.
    pub(crate) fn new(path: &Path, port: u32) -> Result<Outgoing, Errno> {
        let mut name = path.as_os_str().as_bytes().to_vec();
        name.extend_from_slice(format!("_{port}").as_bytes());
        let address = SocketAddrUnix::new(name)?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        Ok(Outgoing { fd, address })
    }

    /// Tries to connect, without waiting.
    pub(crate) fn attempt(self) -> Result<Attempt, Errno> {
        match rustix::net::connect(&self.fd, &self.address) {
            Ok(()) => Ok(Attempt::Connected(self.fd)),
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
        let ours = Listener::bind(&path).unwrap();
        assert!(matches!(Listener::bind(&path), Err(VsockError::PathExists { .. })));
        drop(ours);
        assert!(!path.exists());

        // A socket that nobody listens on any more is still somebody's file.
        drop(UnixListener::bind(&path).unwrap());
        assert!(matches!(Listener::bind(&path), Err(VsockError::PathExists { .. })));
        fs::remove_file(&path).unwrap();

        let ours = Listener::bind(&path).unwrap();
        fs::rename(&path, dir.path().join("moved")).unwrap();
        let theirs = UnixListener::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists(), "somebody else's file was removed");
        let theirs = Listener::bound(theirs, &path).unwrap();
        assert!(matches!(theirs.accept(), Err(Errno::AGAIN)));
        drop(theirs);
        assert!(path.exists(), "a file that we did not create was removed");
        let nowhere = dir.path().join("no/such/dir");
        assert!(matches!(Listener::bind(&nowhere), Err(VsockError::Listen { .. })));
    }
}
