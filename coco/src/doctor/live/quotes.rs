//! Whether a quote service answers the door. Nothing is said to it.

use std::io;
use std::time::Duration;

use crate::doctor::answer::{Answer, QuoteService};
use crate::tdx::QuoteServiceAddress;
use crate::tdx::qgs::reach;

/// A service on this machine takes a connection at once or not at all.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where Intel's service listens, as it is packaged: its Unix socket, and its port on vsock of the host (2).
fn usual() -> [QuoteServiceAddress; 2] {
    [
        QuoteServiceAddress::Unix("/var/run/tdx-qgs/qgs.socket".into()),
        QuoteServiceAddress::Vsock { cid: 2, port: 4050 },
    ]
}

pub(super) fn ask_usual_places() -> QuoteService {
    let [first, second] = usual().map(|address| ask(&address));
    // The first is the one to name when neither answers.
    if first.connect.value().is_none() && second.connect.value().is_some() { second } else { first }
}

pub(super) fn ask(address: &QuoteServiceAddress) -> QuoteService {
    let connect = match reach(address, PATIENCE) {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Answer::Errno(libc::ETIMEDOUT),
        reached => Answer::from(reached).map(|()| true),
    };
    QuoteService { address: address.to_string(), connect }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_service_that_listens_is_found_and_one_that_does_not_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qgs.socket");
        let address = QuoteServiceAddress::Unix(path.clone());
        assert!(ask(&address).connect.is_absent());
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(
            ask(&address),
            QuoteService { address: address.to_string(), connect: Answer::Value(true) }
        );
        drop(listener);
        assert_eq!(ask(&address).connect, Answer::Errno(libc::ECONNREFUSED));
    }
}
