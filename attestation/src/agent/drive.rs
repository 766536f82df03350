//! Drives a session over a blocking byte stream of any kind.

use alloc::vec::Vec;
use core::fmt;

use super::{AgentError, AgentSession, EvidenceProvider, Progress, Secret, Step};
use crate::Random;
use crate::protocol::message::ErrorMessage;
use crate::protocol::{ErrorClass, Frame, FrameType};

/// Why a stream failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportError {
    /// The other side closed the stream.
    Closed,
    /// Nothing came in time.
    TimedOut,
    /// The stream failed; the number is the transport's own (an errno, where there is one).
    Failed(i32),
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed by the other side"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Failed(code) => write!(f, "code {code}"),
        }
    }
}

impl core::error::Error for TransportError {}

/// A connected, blocking byte stream.
pub trait Transport {
    /// Sends all of `bytes`.
    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError>;

    /// Waits for at least one byte and returns how many came. The end of the stream is `Closed`.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, TransportError>;
}

/// Tells the broker that this guest gives up. One byte of reason; the rest is nobody's business.
fn say_goodbye(transport: &mut dyn Transport, error: AgentError) {
    let class = match error {
        AgentError::Refused(_) | AgentError::Transport(_) => return,
        AgentError::Protocol(_) => ErrorClass::MALFORMED,
        AgentError::Evidence(_) => ErrorClass::NO_EVIDENCE,
        AgentError::UnsupportedChallenge => ErrorClass::UNSUPPORTED,
        _ => ErrorClass::DENIED,
    };
    if let Ok(frame) = Frame::new(FrameType::ERROR, &ErrorMessage { class }.encode()) {
        // If it does not arrive, the broker sees the connection close.
        let _ = transport.send(frame.bytes());
    }
}

/// Runs one attempt from HELLO to CONFIRM and returns the secrets.
pub fn attest(
    transport: &mut dyn Transport,
    provider: &mut dyn EvidenceProvider,
    secrets: &[&str],
    random: Random,
    on_step: &mut dyn FnMut(&Step),
) -> Result<Vec<Secret>, AgentError> {
    let mut session = AgentSession::new(secrets, random)?;
    let hello = session.start(provider.tee())?;
    session.take_steps().iter().for_each(&mut *on_step);
    transport.send(&hello)?;
    let mut buffer = [0u8; 1024];
    loop {
        let count = transport.receive(&mut buffer)?;
        let mut input = buffer.get(..count).ok_or(TransportError::Failed(0))?;
        while !input.is_empty() {
            let progress = session.on_bytes(&mut input, provider);
            session.take_steps().iter().for_each(&mut *on_step);
            match progress.inspect_err(|error| say_goodbye(transport, *error))? {
                Progress::NeedMore => {}
                Progress::Send(bytes) => transport.send(&bytes)?,
                Progress::Done { send, secrets } => {
                    transport.send(&send)?;
                    return Ok(secrets);
                }
            }
        }
    }
}
