//! For tests: both ends of a handshake in memory, a frame at a time, so that a test can stand between.

use super::{Broker, BrokerEvent, BrokerSession, Outcome, Refusal, os_random};
use crate::agent::{AgentError, AgentSession, EvidenceProvider, Progress, Secret};
use crate::protocol::{Frame, FrameReader, FrameType, Tee};
use crate::testing::SimProvider;

const ALL: &[FrameType] = &[
    FrameType::HELLO,
    FrameType::CHALLENGE,
    FrameType::EVIDENCE,
    FrameType::RESULT,
    FrameType::CONFIRM,
    FrameType::ERROR,
];

pub(crate) fn frame(bytes: &[u8]) -> Frame {
    FrameReader::new(ALL).feed(&mut &bytes[..]).unwrap().unwrap()
}

/// Both ends.
#[derive(Debug)]
pub(crate) struct Dance {
    pub(crate) hello: Vec<u8>,
    pub(crate) agent: AgentSession,
    pub(crate) session: BrokerSession,
    pub(crate) events: Vec<BrokerEvent>,
    pub(crate) outcome: Option<Outcome>,
}

impl Dance {
    pub(crate) fn new(broker: &Broker) -> Self {
        let agent = AgentSession::new(&["disk-key"], os_random).unwrap();
        Self { hello: Vec::new(), agent, session: broker.session(), events: Vec::new(), outcome: None }
    }

    pub(crate) fn hello(&mut self) -> Vec<u8> {
        self.hello = self.agent.start(Tee::SNP).unwrap();
        self.hello.clone()
    }

    pub(crate) fn tell_broker(&mut self, mut bytes: &[u8]) -> Option<Vec<u8>> {
        let reaction = self.session.on_bytes(&mut bytes);
        assert!(bytes.is_empty() || reaction.outcome.is_some());
        self.events.extend(reaction.events);
        self.outcome = self.outcome.take().or(reaction.outcome);
        reaction.send
    }

    pub(crate) fn tell_agent(
        &mut self,
        mut bytes: &[u8],
        provider: &mut dyn EvidenceProvider,
    ) -> Result<Progress, AgentError> {
        self.agent.on_bytes(&mut bytes, provider)
    }

    /// Up to EVIDENCE, which is returned and not delivered.
    pub(crate) fn evidence(&mut self, provider: &mut dyn EvidenceProvider) -> Result<Vec<u8>, AgentError> {
        let hello = self.hello();
        let challenge = self.tell_broker(&hello).unwrap();
        match self.tell_agent(&challenge, provider)? {
            Progress::Send(evidence) => Ok(evidence),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn refusal(&self) -> &Refusal {
        self.outcome.as_ref().unwrap().refusal.as_ref().unwrap()
    }
}

/// A whole handshake.
pub(crate) fn run(broker: &Broker, provider: &mut SimProvider) -> (Result<Vec<Secret>, AgentError>, Dance) {
    let mut dance = Dance::new(broker);
    let evidence = match dance.evidence(provider) {
        Ok(evidence) => evidence,
        Err(error) => return (Err(error), dance),
    };
    let result = dance.tell_broker(&evidence).unwrap();
    match dance.tell_agent(&result, provider) {
        Ok(Progress::Done { send, secrets }) => {
            assert!(dance.tell_broker(&send).is_none());
            (Ok(secrets), dance)
        }
        Ok(other) => panic!("{other:?}"),
        Err(error) => (Err(error), dance),
    }
}
