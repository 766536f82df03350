//! Why the guest got no secret.

use core::fmt;

use super::{EvidenceError, TransportError};
use crate::protocol::{ErrorClass, ProtocolError};

/// Why the guest got no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AgentError {
    /// No secret was asked for, or too many, or one with a name that is not allowed.
    BadRequest,
    /// A frame came when none was expected: the session is over.
    WrongState,
    /// What the broker sent cannot be read.
    Protocol(ProtocolError),
    /// The broker refused.
    Refused(ErrorClass),
    /// CHALLENGE asks for a mode or hash that we did not offer.
    UnsupportedChallenge,
    /// CHALLENGE is not signed by the key that it names.
    ChallengeSignature,
    /// CHALLENGE has no init data, so nothing pins the broker.
    NoPin,
    /// The init data's digest is not our HOST_DATA.
    HostDataMismatch,
    /// The init data names another broker key.
    BrokerKeyMismatch,
    /// The TEE gave no evidence.
    Evidence(EvidenceError),
    /// The TEE's report does not contain the REPORT_DATA that we asked for, or is too short.
    BadReport,
    /// RESULT has other secrets than we asked for.
    WrongSecrets,
    /// The stream failed.
    Transport(TransportError),
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadRequest => {
                f.write_str("the list of secrets to ask for is empty, too long or has a bad name")
            }
            Self::WrongState => f.write_str("a message came after the end of the session"),
            Self::Protocol(e) => write!(f, "the broker's message is not acceptable: {e}"),
            Self::Refused(class) => write!(f, "the broker refused: {class}"),
            Self::UnsupportedChallenge => f.write_str("the challenge asks for what was not offered"),
            Self::ChallengeSignature => f.write_str("the challenge is not signed by the broker's key"),
            Self::NoPin => f.write_str("the challenge has no init data: nothing says which broker to trust"),
            Self::HostDataMismatch => {
                f.write_str("the init data is not the one this guest was launched with (HOST_DATA differs)")
            }
            Self::BrokerKeyMismatch => f.write_str("the init data of this launch names another broker"),
            Self::Evidence(e) => write!(f, "no evidence: {e}"),
            Self::BadReport => f.write_str("the TEE's report does not contain what was asked for"),
            Self::WrongSecrets => f.write_str("the broker sent other secrets than were asked for"),
            Self::Transport(e) => write!(f, "the connection to the broker failed: {e}"),
        }
    }
}

impl core::error::Error for AgentError {}

impl From<ProtocolError> for AgentError {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

impl From<EvidenceError> for AgentError {
    fn from(error: EvidenceError) -> Self {
        Self::Evidence(error)
    }
}

impl From<TransportError> for AgentError {
    fn from(error: TransportError) -> Self {
        Self::Transport(error)
    }
}
