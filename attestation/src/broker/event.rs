//! What happened, for the host's terminal and log. Never a secret, only names and digests.

use std::fmt;
use std::io;

use crate::protocol::{ErrorClass, ProtocolError, Tee};
use crate::snp::{Check, Rejection, Verdict};

/// Why a guest got nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The guest said that it has no evidence.
    NoEvidence,
    /// The guest's TEE is one that this broker cannot judge.
    UnsupportedTee(Tee),
    /// The guest speaks no version or mode that this broker speaks.
    UnsupportedVersion,
    /// What the guest sent cannot be read.
    Protocol(ProtocolError),
    /// The evidence was judged and refused; the first reason.
    Verdict(Box<Rejection>),
    /// The guest asked for a secret that the policy does not have.
    UnknownSecret(String),
    /// The secrets were released to this launch before.
    ReleasesUsedUp,
    /// The confirmation is not of this session. The release counts as used.
    ConfirmMismatch,
    /// The guest reported an error instead of going on.
    Guest(ErrorClass),
    /// The guest was silent for too long.
    Idle,
    /// The handshake took too long.
    TooSlow,
    /// The guest closed the connection in the middle.
    Closed,
    /// Too many connections at once.
    TooManyConnections,
    /// Too many attempts in a short time.
    TooManyAttempts,
    /// The connection failed.
    Io(io::ErrorKind),
    /// The broker was told to stop.
    Stopped,
}

impl Refusal {
    /// What the guest is told.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NoEvidence => ErrorClass::NO_EVIDENCE,
            Self::UnsupportedTee(_) | Self::UnsupportedVersion => ErrorClass::UNSUPPORTED,
            Self::Protocol(_) => ErrorClass::MALFORMED,
            Self::Verdict(_) | Self::UnknownSecret(_) | Self::ReleasesUsedUp | Self::ConfirmMismatch => {
                ErrorClass::DENIED
            }
            Self::Idle | Self::TooSlow => ErrorClass::EXPIRED,
            Self::TooManyConnections | Self::TooManyAttempts | Self::Stopped => ErrorClass::BUSY,
            Self::Guest(_) | Self::Closed | Self::Io(_) => ErrorClass::MALFORMED,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEvidence => f.write_str("the guest has no evidence: it is not a confidential guest"),
            Self::UnsupportedTee(tee) => write!(f, "evidence of {tee} cannot be judged here"),
            Self::UnsupportedVersion => f.write_str("the guest speaks no common version or mode"),
            Self::Protocol(e) => write!(f, "the guest's message is not acceptable: {e}"),
            Self::Verdict(rejection) => rejection.fmt(f),
            Self::UnknownSecret(id) => write!(f, "the policy has no secret named {id}"),
            Self::ReleasesUsedUp => f.write_str("the secrets were released to this launch before"),
            Self::ConfirmMismatch => {
                f.write_str("the confirmation is not of this session; the release counts as used")
            }
            Self::Guest(class) => write!(f, "the guest gave up: {class}"),
            Self::Idle => f.write_str("the guest was silent for too long"),
            Self::TooSlow => f.write_str("the handshake took too long"),
            Self::Closed => f.write_str("the guest closed the connection in the middle"),
            Self::TooManyConnections => f.write_str("too many connections at once"),
            Self::TooManyAttempts => f.write_str("too many attempts in a short time"),
            Self::Io(kind) => write!(f, "the connection failed: {kind}"),
            Self::Stopped => f.write_str("the broker was told to stop"),
        }
    }
}

/// A step of the story.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BrokerEvent {
    /// HELLO came.
    Hello {
        /// What evidence the guest offers.
        tee: Tee,
        /// What it asks for.
        secrets: Vec<String>,
    },
    /// CHALLENGE was sent.
    ChallengeSent {
        /// The session's name.
        session: [u8; 16],
    },
    /// EVIDENCE came.
    EvidenceReceived {
        /// Bytes of the report.
        report: usize,
        /// Bytes of the certificate table.
        auxblob: usize,
    },
    /// One check of the verdict.
    Checked(Check),
    /// The verdict: the audit line.
    Judged {
        /// Whether it was accepted.
        accepted: bool,
        /// Whether the evidence is the simulator's.
        simulated: bool,
        /// SHA-256 of the report.
        report: [u8; 32],
        /// SHA-256 of the policy's text.
        policy: [u8; 32],
    },
    /// RESULT with the sealed secrets was sent. The release is used from here on.
    Released {
        /// Their names.
        secrets: Vec<String>,
        /// Whether they went to a simulated guest.
        simulated: bool,
    },
    /// CONFIRM came and is good: the guest has the secrets.
    Confirmed {
        /// Name and SHA-256 of each.
        secrets: Vec<(String, [u8; 32])>,
    },
    /// The guest got nothing, or did not confirm.
    Refused(Refusal),
}

impl fmt::Display for BrokerEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello { tee, secrets } => {
                write!(f, "hello: the guest offers evidence of {tee} and asks for {}", secrets.join(", "))
            }
            Self::ChallengeSent { session } => {
                write!(f, "challenge sent, session {}", hex::encode(session.get(..8).unwrap_or_default()))
            }
            Self::EvidenceReceived { report, auxblob } => {
                write!(f, "evidence received: report of {report} bytes, certificates of {auxblob} bytes")
            }
            Self::Checked(check) => check.fmt(f),
            Self::Judged { accepted, simulated, report, policy } => {
                let verdict = if *accepted { "ACCEPTED" } else { "REFUSED" };
                let mark = if *simulated { " (SIMULATED: says nothing about hardware)" } else { "" };
                let (report, policy) = (hex::encode(report), hex::encode(policy));
                write!(f, "verdict: {verdict}{mark}, report sha256 {report}, policy sha256 {policy}")
            }
            Self::Released { secrets, simulated } => {
                let to = if *simulated { " to a SIMULATED guest" } else { "" };
                write!(f, "released{to}: {}, sealed to the key in the evidence", secrets.join(", "))
            }
            Self::Confirmed { secrets } => {
                f.write_str("confirmed by the guest:")?;
                secrets.iter().try_for_each(|(id, hash)| write!(f, " {id} sha256 {}", hex::encode(hash)))
            }
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The verdict, if it came to one.
    pub verdict: Option<Verdict>,
    /// Names of the secrets that were released.
    pub released: Vec<String>,
    /// Whether the guest confirmed that it has them.
    pub confirmed: bool,
    /// Why it got nothing, or did not confirm.
    pub refusal: Option<Refusal>,
}
