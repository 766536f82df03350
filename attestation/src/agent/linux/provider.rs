//! The choice of a provider.

use super::{ConfigfsTsm, Ports, ProviderChoice};
use crate::agent::mailbox::Mailbox;
use crate::agent::{EvidenceError, EvidenceProvider, NoEvidence};

/// A provider, and what to say about it.
pub(super) type Chosen = (Box<dyn EvidenceProvider>, &'static str);

fn configfs() -> Result<Chosen, EvidenceError> {
    Ok((Box::new(ConfigfsTsm::open()?), "configfs-tsm"))
}

fn sim() -> Result<Chosen, EvidenceError> {
    let ports = Ports::open().map_err(|e| EvidenceError::Failed(e.raw_os_error().unwrap_or(0)))?;
    let mailbox = Mailbox::probe(ports).ok_or(EvidenceError::NoTee)?;
    Ok((Box::new(mailbox), "the simulator's mailbox: SIMULATED evidence, not from hardware"))
}

pub(super) fn choose(choice: ProviderChoice) -> Result<Chosen, EvidenceError> {
    let none = || -> Chosen { (Box::new(NoEvidence), "none: this guest has no TEE") };
    match choice {
        ProviderChoice::ConfigfsTsm => configfs(),
        ProviderChoice::Sim => sim(),
        ProviderChoice::None => Ok(none()),
        ProviderChoice::Auto => Ok(configfs().or_else(|_| sim()).unwrap_or_else(|_| none())),
    }
}
