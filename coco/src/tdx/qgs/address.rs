//! Where a quote generation service listens.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use snafu::Snafu;

/// Where a quote generation service listens: `unix:PATH` or `vsock:CID:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuoteServiceAddress {
    /// A Unix stream socket.
    Unix(PathBuf),
    /// A vsock address. The host itself is CID 2, or 1 from its own programs; Intel's service listens at
    /// port 4050.
    Vsock {
        /// Context id.
        cid: u32,
        /// Port.
        port: u32,
    },
}

/// Text that names no service.
#[derive(Debug, Clone, PartialEq, Eq, Snafu)]
#[snafu(display(
    "`{given}` does not say where a quote service listens. Give unix:PATH or vsock:CID:PORT, such as vsock:2:4050"
))]
pub struct AddressError {
    given: String,
}

impl FromStr for QuoteServiceAddress {
    type Err = AddressError;

    fn from_str(s: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError { given: s.to_owned() };
        match s.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => Ok(QuoteServiceAddress::Unix(path.into())),
            Some(("vsock", address)) => {
                let (cid, port) = address.split_once(':').ok_or_else(wrong)?;
                let number = |s: &str| {
                    let digits = s.bytes().all(|b| b.is_ascii_digit());
                    s.parse().ok().filter(|_| digits).ok_or_else(wrong)
                };
                Ok(QuoteServiceAddress::Vsock { cid: number(cid)?, port: number(port)? })
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for QuoteServiceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QuoteServiceAddress::Unix(path) => write!(f, "unix:{}", path.display()),
            QuoteServiceAddress::Vsock { cid, port } => write!(f, "vsock:{cid}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        for text in ["unix:/run/tdx-qgs/qgs.socket", "unix:relative", "unix:/with:colon", "vsock:2:4050"] {
            assert_eq!(text.parse::<QuoteServiceAddress>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_named() {
        for bad in
            ["", "unix:", "unix", "/run/qgs", "vsock:2", "vsock:2:", "vsock::4050", "vsock:2:+1", "tcp:a:1"]
        {
            let error = bad.parse::<QuoteServiceAddress>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{bad}`")), "{error}");
        }
    }
}
