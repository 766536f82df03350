//! The whole protocol in memory, and everything that a hostile guest or wire can do to the broker.

use proptest::prelude::*;

use super::dance::{Dance, frame, run};
use super::*;
use crate::agent::{AgentError, AgentSession, EvidenceProvider, NoEvidence, Progress};
use crate::certs::Store;
use crate::protocol::message::{Confirm, ErrorMessage, EvidenceMessage, Hello, Mode};
use crate::protocol::{ErrorClass, Frame, FrameType, InitData, ProtocolError, StaticKey, Tee};
use crate::snp::layout as at;
use crate::testing::launch::{broker, config, guest};
use crate::testing::{SimProvider, policy};
use crate::time::UnixTime;

#[test]
fn a_guest_that_proves_itself_gets_the_secret() {
    let broker = broker();
    let (secrets, mut dance) = run(&broker, &mut guest(&broker));
    let secrets = secrets.unwrap();
    assert_eq!(secrets[0].id, "disk-key");
    assert_eq!(secrets[0].bytes.as_slice(), b"open sesame");
    let outcome = dance.outcome.take().unwrap();
    assert!(outcome.confirmed && outcome.refusal.is_none());
    assert_eq!(outcome.released, ["disk-key"]);
    let verdict = outcome.verdict.unwrap();
    assert!(verdict.accepted() && verdict.simulated());

    let story: Vec<_> = dance.events.iter().map(ToString::to_string).collect();
    for part in
        ["hello", "challenge sent", "evidence received: report of 1184", "ok  measurement", "ACCEPTED"]
    {
        assert!(story.iter().any(|line| line.contains(part)), "{part} in {story:#?}");
    }
    assert!(story.last().unwrap().contains(&hex::encode(secrets[0].sha256())), "{story:#?}");
    assert!(!story.join("").contains("open sesame"));
    let steps: Vec<_> = dance.agent.take_steps().iter().map(ToString::to_string).collect();
    assert_eq!(steps.len(), 5, "{steps:#?}");
}

#[test]
fn several_secrets_come_in_the_order_asked_for() {
    let broker = broker();
    let mut dance = Dance::new(&broker);
    dance.agent = AgentSession::new(&["other", "disk-key"], os_random).unwrap();
    let mut provider = guest(&broker);
    let evidence = dance.evidence(&mut provider).unwrap();
    let result = dance.tell_broker(&evidence).unwrap();
    let Ok(Progress::Done { secrets, .. }) = dance.tell_agent(&result, &mut provider) else { panic!() };
    assert_eq!(secrets[0].bytes.as_slice(), [0, 0xff]);
    assert_eq!(secrets[1].bytes.as_slice(), b"open sesame");
}

#[test]
fn a_guest_without_evidence_is_told_so() {
    let broker = broker();
    let mut dance = Dance::new(&broker);
    let hello = dance.agent.start(NoEvidence.tee()).unwrap();
    let answer = dance.tell_broker(&hello).unwrap();
    let error = dance.tell_agent(&answer, &mut NoEvidence).unwrap_err();
    assert_eq!(error, AgentError::Refused(ErrorClass::NO_EVIDENCE));
    assert_eq!(*dance.refusal(), Refusal::NoEvidence);
    assert!(error.to_string().contains("no evidence"));
}

#[test]
fn the_wrong_guest_gets_nothing() {
    type Edit = fn(&mut [u8]);
    let edits: [(Edit, &str); 4] = [
        (|r| r[at::MEASUREMENT] ^= 1, "MeasurementMismatch"),
        (|r| r[at::POLICY + 2] |= 8, "PolicyDebug"),
        (|r| r[at::VMPL] = 1, "PolicyVmpl"),
        (|r| r[at::CHIP_ID] ^= 1, "ChipIdMismatch"),
    ];
    for (edit, class) in edits {
        let broker = broker();
        let mut provider = SimProvider { edit, ..guest(&broker) };
        let (result, dance) = run(&broker, &mut provider);
        let error = result.unwrap_err();
        assert_eq!(error, AgentError::Refused(ErrorClass::DENIED));
        let Refusal::Verdict(reason) = dance.refusal() else { panic!("{:?}", dance.refusal()) };
        assert_eq!(reason.class(), class);
        // Refusal costs no release.
        assert!(run(&broker, &mut guest(&broker)).0.is_ok());
    }
}

#[test]
fn simulation_is_refused_unless_allowed() {
    let mut strict = policy();
    strict.allow_sim = false;
    let broker = Broker::new(config(strict));
    let (result, dance) = run(&broker, &mut guest(&broker));
    let error = result.unwrap_err();
    assert_eq!(error, AgentError::Refused(ErrorClass::DENIED));
    assert!(dance.refusal().to_string().contains("simulator"), "{}", dance.refusal());
}

#[test]
fn a_secret_that_the_policy_has_not_is_refused_after_the_verdict() {
    let broker = broker();
    let mut dance = Dance::new(&broker);
    dance.agent = AgentSession::new(&["root-password"], os_random).unwrap();
    let evidence = dance.evidence(&mut guest(&broker)).unwrap();
    dance.tell_broker(&evidence).unwrap();
    assert_eq!(*dance.refusal(), Refusal::UnknownSecret("root-password".into()));
    assert!(run(&broker, &mut guest(&broker)).0.is_ok());
}

// Freshness, binding and diversion.

#[test]
fn replayed_evidence_is_refused() {
    let broker = broker();
    let mut first = Dance::new(&broker);
    let evidence = first.evidence(&mut guest(&broker)).unwrap();

    // The same bytes in a new session of the same launch: another nonce, another REPORT_DATA.
    let mut second = Dance::new(&broker);
    let hello = second.hello();
    second.tell_broker(&hello).unwrap();
    second.tell_broker(&evidence).unwrap();
    let Refusal::Verdict(reason) = second.refusal() else { panic!("{:?}", second.refusal()) };
    assert_eq!(reason.class(), "ReportDataMismatch");

    // Even with the very same HELLO, since the broker's nonce is fresh.
    let mut third = Dance::new(&broker);
    third.tell_broker(&first.hello.clone()).unwrap();
    third.tell_broker(&evidence).unwrap();
    let Refusal::Verdict(reason) = third.refusal() else { panic!("{:?}", third.refusal()) };
    assert_eq!(reason.class(), "ReportDataMismatch");
}

#[test]
fn evidence_with_another_key_is_refused() {
    // A relay in between puts its own key into EVIDENCE, to have the secret sealed to itself.
    let broker = broker();
    let mut dance = Dance::new(&broker);
    let evidence = dance.evidence(&mut guest(&broker)).unwrap();
    let mut message = EvidenceMessage::decode(frame(&evidence).body()).unwrap();
    message.guest_key = *StaticKey::generate(os_random).unwrap().public();
    let forged = Frame::new(FrameType::EVIDENCE, &message.encode()).unwrap();
    dance.tell_broker(forged.bytes()).unwrap();
    let Refusal::Verdict(reason) = dance.refusal() else { panic!("{:?}", dance.refusal()) };
    assert_eq!(reason.class(), "ReportDataMismatch");
}

#[test]
fn evidence_of_another_launch_is_refused() {
    // Two guests with the same measurement: the second one's broker must not serve the first.
    let (ours, theirs) = (broker(), broker());
    let mut dance = Dance::new(&ours);
    let hello = dance.hello();
    let challenge = dance.tell_broker(&hello).unwrap();
    // The guest of another launch does not even answer: the init data is not its own.
    let error = dance.tell_agent(&challenge, &mut guest(&theirs)).map(|_| ()).unwrap_err();
    assert_eq!(error, AgentError::HostDataMismatch);

    // And one that would answer is refused.
    let mut dance = Dance::new(&ours);
    let mut evidence = dance.evidence(&mut guest(&ours)).unwrap();
    let mut message = EvidenceMessage::decode(frame(&evidence).body()).unwrap();
    let mut data = [0; 64];
    data.copy_from_slice(&message.report[at::REPORT_DATA..][..64]);
    message.report = crate::testing::report(&data, &theirs.host_data(), |_| ());
    evidence = Frame::new(FrameType::EVIDENCE, &message.encode()).unwrap().into_bytes();
    dance.tell_broker(&evidence).unwrap();
    let Refusal::Verdict(reason) = dance.refusal() else { panic!("{:?}", dance.refusal()) };
    assert_eq!(reason.class(), "HostDataMismatch");
}

#[test]
fn a_second_release_to_the_same_launch_is_refused() {
    let broker = broker();
    run(&broker, &mut guest(&broker)).0.unwrap();
    let (result, dance) = run(&broker, &mut guest(&broker));
    let error = result.unwrap_err();
    assert_eq!(error, AgentError::Refused(ErrorClass::DENIED));
    assert_eq!(*dance.refusal(), Refusal::ReleasesUsedUp);
}

#[test]
fn a_wrong_confirmation_burns_the_release() {
    let broker = broker();
    let mut dance = Dance::new(&broker);
    let evidence = dance.evidence(&mut guest(&broker)).unwrap();
    dance.tell_broker(&evidence).unwrap();
    let confirm = Frame::new(FrameType::CONFIRM, &Confirm { mac: [0; 48] }.encode()).unwrap();
    dance.tell_broker(confirm.bytes());
    assert_eq!(*dance.refusal(), Refusal::ConfirmMismatch);
    let outcome = dance.outcome.unwrap();
    assert!(!outcome.confirmed && outcome.released == ["disk-key"]);
    assert!(run(&broker, &mut guest(&broker)).0.is_err());
}

// Order, and hostile bytes.

#[test]
fn frames_out_of_order_end_the_session() {
    let broker = broker();
    let bodies: [(FrameType, Vec<u8>); 3] = [
        (FrameType::CHALLENGE, vec![0xa0]),
        (FrameType::RESULT, vec![0xa0]),
        (FrameType::CONFIRM, Confirm { mac: [0; 48] }.encode()),
    ];
    for (kind, body) in bodies {
        for after_hello in [false, true] {
            let mut dance = Dance::new(&broker);
            if after_hello {
                let hello = dance.hello();
                dance.tell_broker(&hello).unwrap();
            }
            let bytes = Frame::new(kind, &body).unwrap().into_bytes();
            dance.tell_broker(&bytes).unwrap();
            assert_eq!(*dance.refusal(), Refusal::Protocol(ProtocolError::UnexpectedType(kind.0)));
        }
    }
    // HELLO twice.
    let mut dance = Dance::new(&broker);
    let hello = dance.hello();
    dance.tell_broker(&hello).unwrap();
    dance.tell_broker(&hello).unwrap();
    assert_eq!(*dance.refusal(), Refusal::Protocol(ProtocolError::UnexpectedType(1)));
    // After the end there is nothing more.
    let answer = dance.session.on_frame(&frame(&hello));
    assert!(answer.outcome.is_some());
}

#[test]
fn versions_and_modes_without_an_overlap_are_refused() {
    let hello = |versions: Vec<u8>, tee: Tee, modes: Vec<Mode>| {
        let hello = Hello { versions, tee, nonce: [0; 32], secrets: vec!["disk-key".into()], modes };
        let mut dance = Dance::new(&broker());
        dance.tell_broker(Frame::new(FrameType::HELLO, &hello.encode()).unwrap().bytes()).unwrap();
        dance.outcome.map(|outcome| outcome.refusal.unwrap())
    };
    assert_eq!(hello(vec![2], Tee::SNP, vec![Mode::LOCAL]), Some(Refusal::UnsupportedVersion));
    assert_eq!(hello(vec![1], Tee::SNP, vec![Mode::RELAY]), Some(Refusal::UnsupportedVersion));
    assert_eq!(hello(vec![1], Tee::TDX, vec![Mode::LOCAL]), Some(Refusal::UnsupportedTee(Tee::TDX)));
    assert_eq!(hello(vec![1, 9], Tee(77), vec![Mode::LOCAL]), Some(Refusal::UnsupportedTee(Tee(77))));
    assert_eq!(hello(vec![1, 9], Tee::SNP, vec![Mode::RELAY, Mode::LOCAL]), None);
}

#[test]
fn a_guests_error_ends_the_session() {
    let broker = broker();
    let mut dance = Dance::new(&broker);
    let hello = dance.hello();
    dance.tell_broker(&hello).unwrap();
    let error = ErrorMessage { class: ErrorClass(200) };
    dance.tell_broker(Frame::new(FrameType::ERROR, &error.encode()).unwrap().bytes()).unwrap();
    assert_eq!(*dance.refusal(), Refusal::Guest(ErrorClass(200)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_changed_byte_anywhere_opens_nothing(which in 0..4usize, at: prop::sample::Index, mask in 1u8..) {
        let broker = broker();
        let mut provider = guest(&broker);
        let mut dance = Dance::new(&broker);
        let change = |index: usize, mut bytes: Vec<u8>| {
            if index == which {
                let at = at.index(bytes.len());
                bytes[at] ^= mask;
            }
            bytes
        };
        // Every message is changed on its way; somebody must notice before it is opened.
        let hello = change(0, dance.hello());
        if let Some(challenge) = dance.tell_broker(&hello)
            && let challenge = change(1, challenge)
            && let Ok(Progress::Send(evidence)) = dance.tell_agent(&challenge, &mut provider)
            && let Some(result) = dance.tell_broker(&change(2, evidence))
        {
            let opened = dance.tell_agent(&change(3, result), &mut provider);
            // Certificates that the verdict does not need may be changed, but then the guest's
            // transcript is another one, and what was sealed to its key does not open.
            let done = matches!(opened, Ok(Progress::Done { .. }));
            prop_assert!(!done);
        }
        if which < 2 {
            let released = dance.events.iter().any(|event| matches!(event, BrokerEvent::Released { .. }));
            prop_assert!(!released);
        }
    }

    #[test]
    fn hostile_streams_never_panic(bytes: Vec<u8>, body in prop::collection::vec(any::<u8>(), 0..300), kind in 1u8..6) {
        let broker = broker();
        let _ = broker.session().on_bytes(&mut &bytes[..]);
        if let Ok(frame) = Frame::new(FrameType(kind), &body[..body.len().min(60)]) {
            let mut dance = Dance::new(&broker);
            let hello = dance.hello();
            dance.tell_broker(&hello);
            let _ = dance.session.on_frame(&frame);
            let _ = dance.agent.on_frame(&frame, &mut NoEvidence);
        }
    }
}

// The binding that the VMM makes.

#[test]
fn the_launch_binding_names_the_brokers_key() {
    let broker = broker();
    let data = InitData::parse(broker.init_data()).unwrap();
    assert_eq!(data.launch_id, broker.launch_id());
    assert_eq!(data.broker_key_hash, broker.public_key_hash());
    assert_eq!(broker.host_data(), host_data(broker.init_data()));
}

#[test]
fn endorsements_of_the_host_stand_in() {
    struct Bare(SimProvider);
    impl EvidenceProvider for Bare {
        fn tee(&self) -> Tee {
            self.0.tee()
        }
        fn evidence(
            &mut self,
            data: &[u8; 64],
        ) -> Result<crate::agent::Evidence, crate::agent::EvidenceError> {
            let evidence = self.0.evidence(data)?;
            Ok(crate::agent::Evidence { auxblob: Vec::new(), ..evidence })
        }
    }
    let mut with_table = config(policy());
    with_table.endorsements = crate::testing::certs();

    let directory = tempfile::tempdir().unwrap();
    let chip = directory.path().join("vcek").join(hex::encode(crate::sim_pki::CHIP_ID));
    std::fs::create_dir_all(&chip).unwrap();
    std::fs::write(chip.join("vcek.der"), crate::sim_pki::VCEK_DER).unwrap();
    let mut with_store = config(policy());
    with_store.store = Some(Store::new(directory.path()));

    for (config, served) in [(with_table, true), (with_store, true), (config(policy()), false)] {
        let broker = Broker::new(config);
        let mut provider = Bare(guest(&broker));
        let mut dance = Dance::new(&broker);
        let evidence = dance.evidence(&mut provider).unwrap();
        let result = dance.tell_broker(&evidence).unwrap();
        let done = matches!(dance.tell_agent(&result, &mut provider), Ok(Progress::Done { .. }));
        assert_eq!(done, served);
    }
}

#[test]
fn the_clock_is_the_configured_one() {
    let mut config = config(policy());
    config.clock = || UnixTime(0);
    let broker = Broker::new(config);
    let (result, dance) = run(&broker, &mut guest(&broker));
    assert!(result.is_err());
    let Refusal::Verdict(reason) = dance.refusal() else { panic!() };
    assert_eq!(reason.class(), "CertNotYetValid");
}
