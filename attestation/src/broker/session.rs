//! The broker's state machine for one connection. It is fed bytes and says what to send; no I/O.

use super::{Broker, BrokerEvent, Outcome, Refusal};
use crate::certs::CertTable;
use crate::protocol::keys::random_bytes;
use crate::protocol::message::{
    Challenge, ChallengeFields, Confirm, ErrorMessage, EvidenceMessage, HASH_SHA384, Hello, Mode,
    ResultMessage, WANT_AUXBLOB,
};
use crate::protocol::seal::{self, ConfirmKey, Secret};
use crate::protocol::transcript::Transcript;
use crate::protocol::{ErrorClass, Frame, FrameReader, FrameType, ProtocolError, Tee, VERSION};
use crate::snp::{Expected, HostData, Rejection, Report, Verdict, verify, verify_snp_evidence};

const HELLO: &[FrameType] = &[FrameType::HELLO];
const EVIDENCE: &[FrameType] = &[FrameType::EVIDENCE, FrameType::ERROR];
const CONFIRM: &[FrameType] = &[FrameType::CONFIRM, FrameType::ERROR];

/// What came of some bytes.
#[derive(Debug, Default)]
pub struct Reaction {
    /// To be sent, before the connection is closed if there is an outcome.
    pub send: Option<Vec<u8>>,
    /// What happened.
    pub events: Vec<BrokerEvent>,
    /// Set once: the session is over.
    pub outcome: Option<Outcome>,
}

enum State {
    AwaitHello,
    AwaitEvidence { secrets: Vec<String> },
    AwaitConfirm { key: ConfirmKey, secrets: Vec<(String, [u8; 32])> },
    Over,
}

/// One attempt of a guest.
pub struct BrokerSession {
    broker: Broker,
    state: State,
    reader: FrameReader,
    transcript: Transcript,
    verdict: Option<Verdict>,
    released: Vec<String>,
}

impl BrokerSession {
    pub(super) fn new(broker: Broker) -> Self {
        Self {
            broker,
            state: State::AwaitHello,
            reader: FrameReader::new(HELLO),
            transcript: Transcript::new(),
            verdict: None,
            released: Vec::new(),
        }
    }

    /// Takes bytes from the front of `input`, up to the end of one frame.
    pub fn on_bytes(&mut self, input: &mut &[u8]) -> Reaction {
        match self.reader.feed(input) {
            Ok(None) => Reaction::default(),
            Ok(Some(frame)) => self.on_frame(&frame),
            Err(error) => self.end(Refusal::Protocol(error)),
        }
    }

    /// Takes one frame.
    pub fn on_frame(&mut self, frame: &Frame) -> Reaction {
        let mut reaction = Reaction::default();
        // Whatever fails below leaves the session over: one attempt per connection.
        let state = std::mem::replace(&mut self.state, State::Over);
        let result = match (state, frame.kind()) {
            (State::AwaitHello, FrameType::HELLO) => self.on_hello(frame, &mut reaction),
            (State::AwaitEvidence { secrets }, FrameType::EVIDENCE) => {
                self.on_evidence(frame, secrets, &mut reaction)
            }
            (State::AwaitConfirm { key, secrets }, FrameType::CONFIRM) => {
                self.on_confirm(frame, &key, secrets, &mut reaction)
            }
            (State::AwaitEvidence { .. } | State::AwaitConfirm { .. }, FrameType::ERROR) => {
                Err(ErrorMessage::decode(frame.body())
                    .map_or_else(Refusal::Protocol, |e| Refusal::Guest(e.class)))
            }
            (_, kind) => Err(Refusal::Protocol(ProtocolError::UnexpectedType(kind.0))),
        };
        if let Err(refusal) = result {
            let ending = self.end(refusal);
            reaction.send = ending.send;
            reaction.events.extend(ending.events);
            reaction.outcome = ending.outcome;
        }
        reaction
    }

    /// Ends the session for a reason of the host's: time, closing, stopping.
    pub fn end(&mut self, refusal: Refusal) -> Reaction {
        let answered =
            matches!(refusal, Refusal::Verdict(_) | Refusal::UnknownSecret(_) | Refusal::ReleasesUsedUp);
        let (kind, body) = if answered {
            (FrameType::RESULT, ResultMessage { status: refusal.class(), secrets: Vec::new() }.encode())
        } else {
            (FrameType::ERROR, ErrorMessage { class: refusal.class() }.encode())
        };
        self.state = State::Over;
        Reaction {
            send: Frame::new(kind, &body).ok().map(Frame::into_bytes),
            events: vec![BrokerEvent::Refused(refusal.clone())],
            outcome: Some(self.outcome(false, Some(refusal))),
        }
    }

    fn outcome(&mut self, confirmed: bool, refusal: Option<Refusal>) -> Outcome {
        Outcome {
            verdict: self.verdict.take(),
            released: std::mem::take(&mut self.released),
            confirmed,
            refusal,
        }
    }

    fn on_hello(&mut self, frame: &Frame, reaction: &mut Reaction) -> Result<(), Refusal> {
        let hello = Hello::decode(frame.body())?;
        reaction.events.push(BrokerEvent::Hello { tee: hello.tee, secrets: hello.secrets.clone() });
        if !hello.versions.contains(&VERSION) || !hello.modes.contains(&Mode::LOCAL) {
            return Err(Refusal::UnsupportedVersion);
        }
        match hello.tee {
            Tee::SNP => {}
            Tee::NONE => return Err(Refusal::NoEvidence),
            other => return Err(Refusal::UnsupportedTee(other)),
        }
        self.transcript.push(frame)?;

        let config = self.broker.config();
        let session = random_bytes(config.random)?;
        let fields = ChallengeFields {
            session,
            // Single use: it is in no other transcript, and this session takes one EVIDENCE.
            nonce: random_bytes(config.random)?,
            mode: Mode::LOCAL,
            hash: HASH_SHA384,
            broker_key: *config.key.public(),
            flags: WANT_AUXBLOB,
            init_data: Some(self.broker.init_data().to_vec()),
        }
        .encode();
        let signature = config.key.sign(&self.transcript.challenge(&fields)?)?;
        let challenge = Frame::new(FrameType::CHALLENGE, &Challenge { fields, signature }.encode())?;
        self.transcript.push(&challenge)?;
        self.reader.expect(EVIDENCE);
        self.state = State::AwaitEvidence { secrets: hello.secrets };
        reaction.send = Some(challenge.into_bytes());
        reaction.events.push(BrokerEvent::ChallengeSent { session });
        Ok(())
    }

    fn on_evidence(
        &mut self,
        frame: &Frame,
        ids: Vec<String>,
        reaction: &mut Reaction,
    ) -> Result<(), Refusal> {
        let message = EvidenceMessage::decode(frame.body())?;
        let (report, auxblob) = (message.report.len(), message.auxblob.len());
        reaction.events.push(BrokerEvent::EvidenceReceived { report, auxblob });

        let broker = self.broker.clone();
        let config = broker.config();
        let expected = Expected {
            report_data: self.transcript.report_data(&message.guest_key)?,
            host_data: HostData::Launch(broker.host_data()),
            now: (config.clock)(),
        };
        let verdict = self.judge(&message, &expected);
        reaction.events.extend(verdict.checks().iter().cloned().map(BrokerEvent::Checked));
        let (accepted, simulated) = (verdict.accepted(), verdict.simulated());
        reaction.events.push(BrokerEvent::Judged {
            accepted,
            simulated,
            report: verdict.report_hash(),
            policy: config.policy.id(),
        });
        let reason = verdict.reason().cloned();
        self.verdict = Some(verdict);
        match reason {
            None if accepted => {}
            Some(reason) => return Err(Refusal::Verdict(Box::new(reason))),
            // A verdict that is not accepted has a reason; without one it is still not accepted.
            None => return Err(Refusal::Protocol(ProtocolError::OutOfRange)),
        }

        self.transcript.push(frame)?;
        let secrets = select(&config.secrets, &ids)?;
        if !broker.take_release() {
            return Err(Refusal::ReleasesUsedUp);
        }
        let (sealed, key) =
            seal::seal(&secrets, &message.guest_key, &self.transcript.seal()?, config.random)?;
        let result = ResultMessage { status: ErrorClass::OK, secrets: sealed };
        let result = Frame::new(FrameType::RESULT, &result.encode())?;
        self.transcript.push(&result)?;
        self.reader.expect(CONFIRM);
        self.released.clone_from(&ids);
        let digests = secrets.iter().map(|secret| (secret.id.clone(), secret.sha256())).collect();
        self.state = State::AwaitConfirm { key, secrets: digests };
        reaction.send = Some(result.into_bytes());
        reaction.events.push(BrokerEvent::Released { secrets: ids, simulated });
        Ok(())
    }

    /// The host's certificates stand in for those that the guest does not bring.
    fn judge(&self, message: &EvidenceMessage, expected: &Expected) -> Verdict {
        let config = self.broker.config();
        let Ok(table) = CertTable::parse(&message.auxblob) else {
            return verify_snp_evidence(&message.report, &message.auxblob, &config.policy, expected);
        };
        let mut certs = table.or(&config.endorsements);
        if let (None, None, Some(store)) = (&certs.vcek, &certs.vlek, &config.store) {
            // A store that cannot be read is a store that has nothing: the verdict says what is missing.
            let report = Report::parse(&message.report).ok();
            certs.vcek = report.and_then(|report| store.vcek(&report).ok().flatten());
        }
        verify(&message.report, &certs, &config.policy, expected)
    }

    fn on_confirm(
        &mut self,
        frame: &Frame,
        key: &ConfirmKey,
        secrets: Vec<(String, [u8; 32])>,
        reaction: &mut Reaction,
    ) -> Result<(), Refusal> {
        let confirm = Confirm::decode(frame.body())?;
        key.verify(&self.transcript.confirm()?, &confirm.mac).map_err(|_| Refusal::ConfirmMismatch)?;
        reaction.events.push(BrokerEvent::Confirmed { secrets });
        reaction.outcome = Some(self.outcome(true, None));
        Ok(())
    }
}

/// The secrets that HELLO names, in its order.
fn select<'a>(secrets: &'a [Secret], ids: &[String]) -> Result<Vec<&'a Secret>, Refusal> {
    let find = |id: &String| {
        secrets.iter().find(|secret| secret.id == *id).ok_or_else(|| Refusal::UnknownSecret(id.clone()))
    };
    ids.iter().map(find).collect()
}

impl From<ProtocolError> for Refusal {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::Verdict(Box::new(rejection))
    }
}

impl std::fmt::Debug for BrokerSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrokerSession").field("broker", &self.broker).finish_non_exhaustive()
    }
}
