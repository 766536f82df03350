//! What the operator says about the device, and what can be wrong with it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use snafu::Snafu;

use super::spec::{FIRST_GUEST_CID, LAST_GUEST_CID};

/// Bytes of the longest path of a Unix socket (`sockaddr_un`, without the final zero).
const PATH_LIMIT: usize = 107;
/// Bytes of the longest suffix that a guest's port adds to the path: `_4294967295`.
const SUFFIX_LIMIT: usize = 11;

/// A vsock device over Unix sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VsockConfig {
    /// The guest's address.
    pub cid: u64,
    /// Host clients connect here; the guest reaches port P of the host at `<path>_P`.
    pub path: PathBuf,
    /// Offers SOCK_SEQPACKET beside SOCK_STREAM: host clients connect to `<path>.seqpacket`.
    pub seqpacket: bool,
    /// Connections at a time, clients that are only about to become one included.
    pub max_connections: usize,
    /// How long what may take.
    pub timeouts: Timeouts,
}

impl VsockConfig {
    /// The defaults, for the guest at `cid`.
    pub fn new(cid: u64, path: impl Into<PathBuf>) -> Self {
        VsockConfig {
            cid,
            path: path.into(),
            seqpacket: true,
            max_connections: 1024,
            timeouts: Timeouts::default(),
        }
    }

    /// Where host clients that keep message boundaries connect.
    pub fn seqpacket_path(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".seqpacket");
        path.into()
    }

    pub(super) fn check(&self) -> Result<(), VsockError> {
        if !(FIRST_GUEST_CID..=LAST_GUEST_CID).contains(&self.cid) {
            return BadCidSnafu { cid: self.cid }.fail();
        }
        let length = self.path.as_os_str().len();
        if length == 0 || length > PATH_LIMIT.saturating_sub(SUFFIX_LIMIT) {
            return BadPathSnafu { path: self.path.clone() }.fail();
        }
        Ok(())
    }
}

/// How long what may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// A host client to send its CONNECT line.
    pub line: Duration,
    /// The guest's driver to be there, for a client that waits for it and did not say how long.
    pub driver: Duration,
    /// The other side to accept a connection.
    pub response: Duration,
    /// A connection that both sides are done with to end.
    pub close: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let two = Duration::from_secs(2);
        Timeouts { line: two, driver: Duration::from_secs(10), response: two, close: two }
    }
}

/// Why there is no device.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(super)))]
pub enum VsockError {
    /// The address is not one that a guest may have.
    #[snafu(display(
        "guest CID {cid} is not between {FIRST_GUEST_CID} and {LAST_GUEST_CID}: choose another"
    ))]
    BadCid {
        /// The address.
        cid: u64,
    },
    /// The path is empty, or too long for a socket address with a port behind it.
    #[snafu(display(
        "vsock path {path:?} is empty or too long: at most {} bytes, so that _<port> fits behind it",
        PATH_LIMIT - SUFFIX_LIMIT
    ))]
    BadPath {
        /// The path.
        path: PathBuf,
    },
    /// There is something at the path already.
    #[snafu(display("vsock path {path:?} exists: remove it if no other guest uses it, or choose another"))]
    PathExists {
        /// The path.
        path: PathBuf,
    },
    /// The host refused the socket.
    #[snafu(display("cannot listen at vsock path {path:?}: {source}"))]
    Listen {
        /// The path.
        path: PathBuf,
        /// The host's answer.
        source: io::Error,
    },
    /// The host refused the thread that serves the socket.
    #[snafu(display("cannot start the vsock worker: {source}"))]
    Start {
        /// The host's answer.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_paths_are_checked() {
        let check = |cid, path: &str| VsockConfig::new(cid, path).check();
        for cid in [0, 1, 2, 0xffff_ffff, u64::MAX] {
            assert!(matches!(check(cid, "/x"), Err(VsockError::BadCid { .. })), "{cid}");
        }
        assert!(matches!(check(3, ""), Err(VsockError::BadPath { .. })));
        assert!(check(3, &"x".repeat(96)).is_ok());
        assert!(matches!(check(3, &"x".repeat(97)), Err(VsockError::BadPath { .. })));
    }
}
