//! The quote generation service: who turns a TD's report into a quote (Intel DCAP, qgs_msg_lib.h).
//!
//! - [`QuoteServiceAddress`]: where it listens.
//! - [`message`]: its requests and answers, as bytes.
//! - [`link`]: a connection with a deadline that can be called off.

mod address;
mod link;
pub mod message;
mod vsock;

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use snafu::{ResultExt, Snafu};

pub use address::{AddressError, QuoteServiceAddress};
use link::Link;
pub use message::AnswerError;

/// How long a request may take, from the connection to the last byte (as QEMU has it).
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no quote.
#[derive(Debug, Snafu)]
#[non_exhaustive]
pub enum QgsError {
    /// Nobody listens, or the connection could not be made.
    #[snafu(display("the quote service at {address} cannot be reached: {source}"))]
    Connect {
        /// Where.
        address: QuoteServiceAddress,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The request could not be sent.
    #[snafu(display("the quote service at {address} took no request: {source}"))]
    Send {
        /// Where.
        address: QuoteServiceAddress,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The answer is none.
    #[snafu(display("the quote service at {address}: {source}"))]
    Answer {
        /// Where.
        address: QuoteServiceAddress,
        /// What is wrong with it.
        source: AnswerError,
    },
}

/// Whether the service takes a connection within `patience`. Nothing is said to it.
pub fn reach(address: &QuoteServiceAddress, patience: Duration) -> io::Result<()> {
    // Nobody writes to it: this wait is not called off.
    let end = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?;
    Link::connect(address, Instant::now().checked_add(patience), end.as_fd()).map(|_| ())
}

/// Asks the service for the quote over `report`, on a connection of its own. Blocks, for at most `patience`
/// or until `end` becomes readable. A quote of more than `limit` bytes is not taken.
pub fn fetch_quote(
    address: &QuoteServiceAddress,
    report: &[u8],
    limit: usize,
    patience: Duration,
    end: BorrowedFd<'_>,
) -> Result<Vec<u8>, QgsError> {
    let deadline = Instant::now().checked_add(patience);
    let mut link =
        Link::connect(address, deadline, end).context(ConnectSnafu { address: address.clone() })?;
    let request = message::quote_request(report).context(AnswerSnafu { address: address.clone() })?;
    link.write_all(&request).context(SendSnafu { address: address.clone() })?;
    message::read_quote(&mut link, limit).context(AnswerSnafu { address: address.clone() })
}
