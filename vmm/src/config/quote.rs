//! Where the service is that turns a TD's report into a quote.

use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

/// The quote generation service: `unix:PATH` or `vsock:CID:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum QuoteService {
    /// A Unix socket.
    Unix(PathBuf),
    /// A vsock address; the host's own is CID 2, and Intel's service listens at port 4050.
    Vsock {
        /// Context id.
        cid: u32,
        /// Port.
        port: u32,
    },
}

impl FromStr for QuoteService {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let form = || format!("`{s}` is not of the form unix:PATH or vsock:CID:PORT");
        match s.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => Ok(QuoteService::Unix(path.into())),
            Some(("vsock", address)) => {
                let (cid, port) = address.split_once(':').ok_or_else(form)?;
                let number = |s: &str| s.parse::<u32>().map_err(|_| form());
                Ok(QuoteService::Vsock { cid: number(cid)?, port: number(port)? })
            }
            _ => Err(form()),
        }
    }
}

impl<'de> Deserialize<'de> for QuoteService {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!("unix:/run/qgs".parse(), Ok(QuoteService::Unix("/run/qgs".into())));
        assert_eq!("vsock:2:4050".parse(), Ok(QuoteService::Vsock { cid: 2, port: 4050 }));
        for bad in ["", "unix:", "/run/qgs", "vsock:2", "vsock:2:", "vsock:x:1", "vsock:1:2:3", "tcp:h:1"] {
            assert!(bad.parse::<QuoteService>().is_err(), "{bad}");
        }
    }
}
