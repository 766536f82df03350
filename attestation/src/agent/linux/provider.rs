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

/// Chooses. `Auto` never takes the simulator: the host decides whether its mailbox is there, and a
/// guest that took it for want of better could be led to trust a broker of the host's own.
pub(super) fn choose(choice: ProviderChoice) -> Result<Chosen, EvidenceError> {
    let none = || -> Chosen { (Box::new(NoEvidence), "none: this guest has no TEE") };
    match choice {
        ProviderChoice::ConfigfsTsm => configfs(),
        ProviderChoice::Sim => sim(),
        ProviderChoice::None => Ok(none()),
        ProviderChoice::Auto => match configfs() {
            Err(EvidenceError::NoTee) => Ok(none()),
            other => other,
        },
        ProviderChoice::AutoOrSim => configfs().or_else(|_| sim()).or_else(|_| Ok(none())),
    }
}
