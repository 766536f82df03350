//! The guest's state machine. It is fed bytes and says what to send; it does no I/O.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use subtle::ConstantTimeEq;

use super::{AgentError, EvidenceProvider};
use crate::Random;
use crate::protocol::keys::{EphemeralKey, random_bytes};
use crate::protocol::message::{
    Challenge, ChallengeFields, Confirm, ErrorMessage, EvidenceMessage, HASH_SHA384, Hello, Mode,
    ResultMessage,
};
use crate::protocol::seal::{self, Secret};
use crate::protocol::transcript::Transcript;
use crate::protocol::{
    ErrorClass, Frame, FrameReader, FrameType, InitData, LaunchId, MAX_SECRETS, Tee, VERSION, host_data,
    is_secret_id,
};
use crate::snp::layout;

const CHALLENGE_OR_ERROR: &[FrameType] = &[FrameType::CHALLENGE, FrameType::ERROR];
const RESULT_OR_ERROR: &[FrameType] = &[FrameType::RESULT, FrameType::ERROR];

/// A step of the handshake that succeeded, for whoever tells the story.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// HELLO is ready to be sent.
    Hello {
        /// What evidence it offers.
        tee: Tee,
    },
    /// CHALLENGE came, and its signature is good.
    Challenged {
        /// The broker's name for the session.
        session: [u8; 16],
    },
    /// The init data is the one of our HOST_DATA and names the broker's key.
    BrokerPinned {
        /// The launch it belongs to.
        launch_id: LaunchId,
    },
    /// EVIDENCE is ready to be sent.
    Evidence {
        /// Bytes of the report.
        report: usize,
        /// Bytes of the certificate table.
        auxblob: usize,
    },
    /// RESULT came, and everything in it opened.
    Opened {
        /// How many secrets.
        secrets: usize,
    },
}

fn hex_head(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().take(8).try_for_each(|b| write!(f, "{b:02x}"))
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello { tee } => write!(f, "hello: evidence offered: {tee}"),
            Self::Challenged { session } => {
                f.write_str("challenge: signature good, session ")?;
                hex_head(session, f)
            }
            Self::BrokerPinned { launch_id } => {
                write!(f, "broker: its key is the one in our HOST_DATA, launch {launch_id}")
            }
            Self::Evidence { report, auxblob } => {
                write!(f, "evidence: report of {report} bytes, certificates of {auxblob} bytes")
            }
            Self::Opened { secrets } => write!(f, "result: {secrets} secret(s) opened"),
        }
    }
}

/// What to do next.
#[derive(Debug)]
pub enum Progress {
    /// Nothing yet: read more bytes.
    NeedMore,
    /// Send these bytes, then read on.
    Send(Vec<u8>),
    /// Send these bytes and close: here are the secrets, in the order in which they were asked for.
    Done {
        /// CONFIRM.
        send: Vec<u8>,
        /// The secrets.
        secrets: Vec<Secret>,
    },
}

#[derive(Debug)]
enum State {
    Fresh,
    AwaitChallenge,
    AwaitResult { key: EphemeralKey },
    Over,
}

/// One attempt to get secrets from the broker.
#[derive(Debug)]
pub struct AgentSession {
    secrets: Vec<String>,
    random: Random,
    state: State,
    reader: FrameReader,
    transcript: Transcript,
    steps: Vec<Step>,
}

impl AgentSession {
    /// A session that asks for the named secrets.
    pub fn new(secrets: &[&str], random: Random) -> Result<Self, AgentError> {
        let distinct = secrets.iter().enumerate().all(|(i, id)| !secrets.iter().take(i).any(|o| o == id));
        let known = secrets.iter().all(|id| is_secret_id(id));
        if secrets.is_empty() || secrets.len() > MAX_SECRETS || !distinct || !known {
            return Err(AgentError::BadRequest);
        }
        Ok(Self {
            secrets: secrets.iter().map(|id| String::from(*id)).collect(),
            random,
            state: State::Fresh,
            reader: FrameReader::new(CHALLENGE_OR_ERROR),
            transcript: Transcript::new(),
            steps: Vec::new(),
        })
    }

    /// The first bytes to send: HELLO.
    pub fn start(&mut self, tee: Tee) -> Result<Vec<u8>, AgentError> {
        let State::Fresh = self.state else { return Err(AgentError::WrongState) };
        self.state = State::Over;
        let hello = Hello {
            versions: alloc::vec![VERSION],
            tee,
            nonce: random_bytes(self.random)?,
            secrets: self.secrets.clone(),
            modes: alloc::vec![Mode::LOCAL],
        };
        let frame = Frame::new(FrameType::HELLO, &hello.encode())?;
        self.transcript.push(&frame)?;
        self.steps.push(Step::Hello { tee });
        self.state = State::AwaitChallenge;
        Ok(frame.into_bytes())
    }

    /// Takes bytes from the front of `input`, up to the end of one frame.
    ///
    /// After an error the session is over; close the connection.
    pub fn on_bytes(
        &mut self,
        input: &mut &[u8],
        provider: &mut dyn EvidenceProvider,
    ) -> Result<Progress, AgentError> {
        match self.reader.feed(input) {
            Ok(Some(frame)) => self.on_frame(&frame, provider),
            Ok(None) => Ok(Progress::NeedMore),
            Err(error) => {
                self.state = State::Over;
                Err(error.into())
            }
        }
    }

    /// Takes one frame.
    pub fn on_frame(
        &mut self,
        frame: &Frame,
        provider: &mut dyn EvidenceProvider,
    ) -> Result<Progress, AgentError> {
        // Whatever fails below leaves the session over: one attempt per connection.
        let state = core::mem::replace(&mut self.state, State::Over);
        match (state, frame.kind()) {
            (State::AwaitChallenge | State::AwaitResult { .. }, FrameType::ERROR) => {
                Err(AgentError::Refused(ErrorMessage::decode(frame.body())?.class))
            }
            (State::AwaitChallenge, FrameType::CHALLENGE) => self.on_challenge(frame, provider),
            (State::AwaitResult { key }, FrameType::RESULT) => self.on_result(frame, &key),
            _ => Err(AgentError::WrongState),
        }
    }

    /// What happened since the last call.
    pub fn take_steps(&mut self) -> Vec<Step> {
        core::mem::take(&mut self.steps)
    }

    fn on_challenge(
        &mut self,
        frame: &Frame,
        provider: &mut dyn EvidenceProvider,
    ) -> Result<Progress, AgentError> {
        let challenge = Challenge::decode(frame.body())?;
        let fields = ChallengeFields::decode(&challenge.fields)?;
        if fields.mode != Mode::LOCAL || fields.hash != HASH_SHA384 {
            return Err(AgentError::UnsupportedChallenge);
        }
        let signed = self.transcript.challenge(&challenge.fields)?;
        fields
            .broker_key
            .verify(&signed, &challenge.signature)
            .map_err(|_| AgentError::ChallengeSignature)?;
        self.steps.push(Step::Challenged { session: fields.session });

        let pin_text = fields.init_data.as_deref().ok_or(AgentError::NoPin)?;
        let pin = InitData::parse(pin_text)?;
        if !bool::from(pin.broker_key_hash.ct_eq(&fields.broker_key.hash())) {
            return Err(AgentError::BrokerKeyMismatch);
        }

        self.transcript.push(frame)?;
        let key = EphemeralKey::generate(self.random)?;
        let report_data = self.transcript.report_data(key.public())?;
        let evidence = provider.evidence(&report_data)?;
        check_own_report(&evidence.report, &report_data, &host_data(pin_text))?;
        self.steps.push(Step::BrokerPinned { launch_id: pin.launch_id });

        self.steps.push(Step::Evidence { report: evidence.report.len(), auxblob: evidence.auxblob.len() });
        let message =
            EvidenceMessage { guest_key: *key.public(), report: evidence.report, auxblob: evidence.auxblob };
        let frame = Frame::new(FrameType::EVIDENCE, &message.encode())?;
        self.transcript.push(&frame)?;
        self.reader.expect(RESULT_OR_ERROR);
        self.state = State::AwaitResult { key };
        Ok(Progress::Send(frame.into_bytes()))
    }

    fn on_result(&mut self, frame: &Frame, key: &EphemeralKey) -> Result<Progress, AgentError> {
        let result = ResultMessage::decode(frame.body())?;
        if result.status != ErrorClass::OK {
            return Err(AgentError::Refused(result.status));
        }
        if !result.secrets.iter().map(|sealed| &sealed.id).eq(&self.secrets) {
            return Err(AgentError::WrongSecrets);
        }
        let (secrets, confirm_key) = seal::open(&result.secrets, key, &self.transcript.seal()?)?;
        self.transcript.push(frame)?;
        let confirm = Confirm { mac: confirm_key.mac(&self.transcript.confirm()?) };
        let send = Frame::new(FrameType::CONFIRM, &confirm.encode())?.into_bytes();
        self.steps.push(Step::Opened { secrets: secrets.len() });
        Ok(Progress::Done { send, secrets })
    }
}

/// Reads our own report: it must be ours (it answers our REPORT_DATA), and HOST_DATA must be the pin.
fn check_own_report(report: &[u8], report_data: &[u8; 64], pin: &[u8; 32]) -> Result<(), AgentError> {
    let found_data = layout::field::<64>(report, layout::REPORT_DATA).ok_or(AgentError::BadReport)?;
    let found_host = layout::field::<32>(report, layout::HOST_DATA).ok_or(AgentError::BadReport)?;
    if report.len() != layout::REPORT_LEN || !bool::from(found_data.ct_eq(report_data)) {
        return Err(AgentError::BadReport);
    }
    if !bool::from(found_host.ct_eq(pin)) {
        return Err(AgentError::HostDataMismatch);
    }
    Ok(())
}

#[cfg(all(test, feature = "broker"))]
#[path = "session_test.rs"]
mod tests;
