//! The quote generation service of a simulated platform, on a stream.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use std::io::{self, Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::keys::Keys;
use super::layout::{QuoteForm, quote};
use super::wire::{self, QgsError, REQUEST_MAX};
use crate::sim::tdx::checked;

/// A client that is silent for so long is let go.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes quotes out of TDREPORTs of the simulated module. Whoever reaches it may ask.
#[derive(Clone)]
pub struct QuoteService {
    keys: Keys,
    form: QuoteForm,
}

impl QuoteService {
    /// A service whose quotes have the given form.
    pub fn new(form: QuoteForm) -> io::Result<Self> {
        Ok(QuoteService { keys: Keys::load()?, form })
    }

    /// The quote for a TDREPORT; none if it is not this platform's.
    pub fn quote(&self, tdreport: &[u8]) -> Option<Vec<u8>> {
        checked(tdreport).map(|report| quote(&report, self.form, &self.keys))
    }

    /// The answer to one message (without its frame), with its frame.
    pub fn answer(&self, request: &[u8]) -> Vec<u8> {
        let quote = wire::report(request).and_then(|r| self.quote(r).ok_or(QgsError::INVALID_PARAMETER));
        wire::answer(quote)
    }

    /// Serves one connection: a request, its answer.
    pub fn serve_stream(&self, mut stream: impl Read + Write) -> io::Result<()> {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        let mut buffer = [0; REQUEST_MAX];
        let request = buffer.get_mut(..length).ok_or(io::ErrorKind::InvalidData)?;
        stream.read_exact(request)?;
        stream.write_all(&self.answer(request))
    }

    /// Serves connections one after another, in a thread of its own, until the server is dropped.
    pub fn serve(self, listener: UnixListener) -> io::Result<QuoteServer> {
        let listener = Arc::new(listener);
        let accepting = Arc::clone(&listener);
        let run = move || {
            // The listener fails when the server shuts it down, and only then.
            while let Ok((stream, _)) = accepting.accept() {
                let patient = stream
                    .set_read_timeout(Some(PATIENCE))
                    .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
                // A client's failure is its own.
                let _ = patient.and_then(|()| self.serve_stream(&stream));
            }
        };
        let thread = std::thread::Builder::new().name("sim-quotes".into()).spawn(run)?;
        Ok(QuoteServer { listener, thread: Some(thread) })
    }
}

impl std::fmt::Debug for QuoteService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuoteService").field("form", &self.form).finish_non_exhaustive()
    }
}

/// A running service; dropping it ends it.
#[derive(Debug)]
pub struct QuoteServer {
    listener: Arc<UnixListener>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for QuoteServer {
    fn drop(&mut self) {
        // Wakes the accept, which then fails.
        let _ = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
