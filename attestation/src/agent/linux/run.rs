//! From options to secrets.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::vsock::Vsock;
use super::{Args, provider, secret_file};
use crate::agent::{AgentError, EvidenceError, attest};
use crate::os::os_random;

/// Why there is no secret.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// No connection to the broker.
    Connect(io::Error),
    /// The chosen provider is not there.
    Provider(EvidenceError),
    /// The handshake failed.
    Attest(AgentError),
    /// A secret could not be written.
    Write(PathBuf, io::Error),
}

impl Failure {
    /// The exit status, as the help lists it.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Attest(AgentError::Refused(_)) => 1,
            Self::Attest(AgentError::BadRequest) => 2,
            Self::Connect(_) | Self::Attest(AgentError::Transport(_)) => 3,
            Self::Provider(_) | Self::Attest(AgentError::Evidence(_) | AgentError::BadReport) => 4,
            Self::Attest(_) => 5,
            Self::Write(..) => 6,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(e) => write!(f, "no connection to the broker: {e}"),
            Self::Provider(e) => write!(f, "no evidence: {e}"),
            Self::Attest(e) => e.fmt(f),
            Self::Write(path, e) => write!(f, "{} cannot be written: {e}", path.display()),
        }
    }
}

/// Runs one attempt and prints a line for every step.
pub fn run(args: &Args, print: &mut dyn FnMut(&dyn fmt::Display)) -> Result<(), Failure> {
    let (mut provider, name) = provider::choose(args.provider).map_err(Failure::Provider)?;
    print(&format_args!("evidence: {name}"));
    let mut stream = Vsock::connect(args.cid, args.port, args.timeout).map_err(Failure::Connect)?;
    print(&format_args!("connected to the broker at vsock {}:{}", args.cid, args.port));

    let names: Vec<_> = args.secrets.iter().map(|(name, _)| name.as_str()).collect();
    let secrets = attest(&mut stream, &mut *provider, &names, os_random, &mut |step| print(step))
        .map_err(Failure::Attest)?;

    for (secret, (_, out)) in secrets.iter().zip(&args.secrets) {
        if let Some(path) = out {
            secret_file::write(path, &secret.bytes).map_err(|e| Failure::Write(path.clone(), e))?;
        }
        let digest: String = secret.sha256().iter().map(|byte| format!("{byte:02x}")).collect();
        print(&format_args!("secret {} sha256 {digest}", secret.id));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ErrorClass;

    #[test]
    fn failures_have_their_own_exit_status() {
        let status = |error| Failure::Attest(error).exit_status();
        assert_eq!(status(AgentError::Refused(ErrorClass::DENIED)), 1);
        assert_eq!(status(AgentError::Evidence(EvidenceError::NoTee)), 4);
        assert_eq!(status(AgentError::HostDataMismatch), 5);
        assert_eq!(status(AgentError::NoPin), 5);
        assert_eq!(Failure::Connect(io::ErrorKind::NotFound.into()).exit_status(), 3);
    }
}
