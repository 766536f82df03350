//! What the guest checks before it sends evidence or accepts a secret.

use super::*;
use crate::broker::dance::{Dance, frame};
use crate::broker::os_random;
use crate::protocol::{ProtocolError, StaticKey, init_data};
use crate::testing::SimProvider;
use crate::testing::launch::{broker, guest};

/// CHALLENGE with changed fields, signed by `key`.
fn forged_challenge(
    hello: &[u8],
    key: &StaticKey,
    change: impl FnOnce(&mut ChallengeFields),
    real: &[u8],
) -> Vec<u8> {
    let challenge = Challenge::decode(frame(real).body()).unwrap();
    let mut fields = ChallengeFields::decode(&challenge.fields).unwrap();
    change(&mut fields);
    let fields = fields.encode();
    let mut transcript = Transcript::new();
    transcript.push(&frame(hello)).unwrap();
    let signature = key.sign(&transcript.challenge(&fields).unwrap()).unwrap();
    Frame::new(FrameType::CHALLENGE, &Challenge { fields, signature }.encode()).unwrap().into_bytes()
}

fn agents_answer(change: impl FnOnce(&mut ChallengeFields, &StaticKey)) -> Option<AgentError> {
    let broker = broker();
    let mut dance = Dance::new(&broker);
    let hello = dance.hello();
    let real = dance.tell_broker(&hello).unwrap();
    let imposter = StaticKey::generate(os_random).unwrap();
    let forged = forged_challenge(&hello, &imposter, |fields| change(fields, &imposter), &real);
    dance.tell_agent(&forged, &mut guest(&broker)).err()
}

#[test]
fn only_the_broker_of_the_launch_is_answered() {
    // Signed by another key than it names.
    assert_eq!(agents_answer(|_, _| ()), Some(AgentError::ChallengeSignature));
    // A self-made broker that names its own key: the init data pins another.
    let own_key = |fields: &mut ChallengeFields, key: &StaticKey| fields.broker_key = *key.public();
    assert_eq!(agents_answer(own_key), Some(AgentError::BrokerKeyMismatch));
    // With its own init data too: that is not in HOST_DATA.
    let own_data = |fields: &mut ChallengeFields, key: &StaticKey| {
        fields.broker_key = *key.public();
        fields.init_data = Some(init_data(LaunchId([0; 16]), key.public().hash()));
    };
    assert_eq!(agents_answer(own_data), Some(AgentError::HostDataMismatch));
    // Without init data there is nothing to hold on to.
    let no_pin = |fields: &mut ChallengeFields, key: &StaticKey| {
        fields.broker_key = *key.public();
        fields.init_data = None;
    };
    assert_eq!(agents_answer(no_pin), Some(AgentError::NoPin));
    let nonsense = |fields: &mut ChallengeFields, key: &StaticKey| {
        fields.broker_key = *key.public();
        fields.init_data = Some(b"version = 1".to_vec());
    };
    assert_eq!(agents_answer(nonsense), Some(AgentError::Protocol(ProtocolError::BadInitData)));
    let relay = |fields: &mut ChallengeFields, key: &StaticKey| {
        fields.broker_key = *key.public();
        fields.mode = Mode::RELAY;
    };
    assert_eq!(agents_answer(relay), Some(AgentError::UnsupportedChallenge));
}

#[test]
fn a_challenge_for_another_hello_is_not_answered() {
    let broker = broker();
    let mut one = Dance::new(&broker);
    let hello = one.hello();
    let challenge = one.tell_broker(&hello).unwrap();
    let mut two = Dance::new(&broker);
    two.hello();
    let error = two.tell_agent(&challenge, &mut guest(&broker)).map(|_| ()).unwrap_err();
    assert_eq!(error, AgentError::ChallengeSignature);
}

#[test]
fn a_report_that_answers_something_else_is_not_sent() {
    let broker = broker();
    let mut provider = SimProvider { edit: |r| r[layout::REPORT_DATA] ^= 1, ..guest(&broker) };
    let error = Dance::new(&broker).evidence(&mut provider).unwrap_err();
    assert_eq!(error, AgentError::BadReport);
}

#[test]
fn a_result_of_another_session_does_not_open() {
    let (one, two) = (broker(), broker());
    let mut dance = Dance::new(&one);
    let evidence = dance.evidence(&mut guest(&one)).unwrap();
    dance.tell_broker(&evidence).unwrap();
    let mut other = Dance::new(&two);
    let evidence = other.evidence(&mut guest(&two)).unwrap();
    let others_result = other.tell_broker(&evidence).unwrap();
    let error = dance.tell_agent(&others_result, &mut guest(&one)).map(|_| ()).unwrap_err();
    assert_eq!(error, AgentError::Protocol(ProtocolError::BadSeal));
}

#[test]
fn a_result_with_other_secrets_is_refused() {
    for secrets in [0, 2] {
        let broker = broker();
        let mut dance = Dance::new(&broker);
        let evidence = dance.evidence(&mut guest(&broker)).unwrap();
        let result = dance.tell_broker(&evidence).unwrap();
        let mut message = ResultMessage::decode(frame(&result).body()).unwrap();
        message.secrets = message.secrets.iter().cycle().take(secrets).cloned().collect();
        let changed = Frame::new(FrameType::RESULT, &message.encode()).unwrap();
        let error = dance.tell_agent(changed.bytes(), &mut guest(&broker)).map(|_| ()).unwrap_err();
        assert_eq!(error, AgentError::WrongSecrets);
    }
}
