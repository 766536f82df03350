use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::protocol::keys::StaticKey;
use crate::protocol::test_random::random;

fn hello() -> Hello {
    Hello {
        versions: vec![1],
        tee: Tee::SNP,
        nonce: [3; 32],
        secrets: vec!["disk-key".into()],
        modes: vec![Mode::LOCAL],
    }
}

fn key() -> PublicKey {
    *StaticKey::from_scalar(&[5; 32]).unwrap().public()
}

fn fields(init_data: Option<Vec<u8>>) -> ChallengeFields {
    ChallengeFields {
        session: [1; 16],
        nonce: [2; 32],
        mode: Mode::LOCAL,
        hash: HASH_SHA384,
        broker_key: key(),
        flags: WANT_AUXBLOB,
        init_data,
    }
}

#[test]
fn messages_round_trip() {
    assert_eq!(Hello::decode(&hello().encode()), Ok(hello()));
    for init_data in [None, Some(vec![9; 300])] {
        let fields = fields(init_data);
        assert_eq!(ChallengeFields::decode(&fields.encode()), Ok(fields.clone()));
        let challenge = Challenge { fields: fields.encode(), signature: [4; 64] };
        assert_eq!(Challenge::decode(&challenge.encode()), Ok(challenge));
    }
    let evidence = EvidenceMessage { guest_key: key(), report: vec![1; 1184], auxblob: vec![2; 6000] };
    assert_eq!(EvidenceMessage::decode(&evidence.encode()), Ok(evidence));
    let sealed = Sealed {
        id: "a".into(),
        protected: vec![1; 40],
        encrypted_key: [2; 40],
        iv: [3; 12],
        ciphertext: vec![4; 5],
        tag: [6; 16],
    };
    let result = ResultMessage { status: ErrorClass::OK, secrets: vec![sealed.clone(), sealed] };
    assert_eq!(ResultMessage::decode(&result.encode()), Ok(result));
    let confirm = Confirm { mac: [8; 48] };
    assert_eq!(Confirm::decode(&confirm.encode()), Ok(confirm));
    let error = ErrorMessage { class: ErrorClass::BUSY };
    assert_eq!(ErrorMessage::decode(&error.encode()), Ok(error));
}

#[test]
fn the_longest_messages_fit_their_frames() {
    let ids = (0..MAX_SECRETS).map(|i| format!("{i}{}", "x".repeat(63))).collect();
    let longest = Hello { secrets: ids, ..hello() };
    assert!(longest.encode().len() <= 512);
    assert_eq!(Hello::decode(&longest.encode()), Ok(longest));

    let challenge = Challenge { fields: fields(Some(vec![0; MAX_INIT_DATA])).encode(), signature: [0; 64] };
    assert!(challenge.encode().len() <= 4096);

    let evidence =
        EvidenceMessage { guest_key: key(), report: vec![0; MAX_REPORT], auxblob: vec![0; MAX_AUXBLOB] };
    assert!(evidence.encode().len() <= 128 << 10);
}

#[test]
fn hello_names_one_to_four_distinct_secrets() {
    let with = |ids: &[&str]| Hello { secrets: ids.iter().map(|s| (*s).into()).collect(), ..hello() };
    assert_eq!(Hello::decode(&with(&[]).encode()), Err(ProtocolError::OutOfRange));
    assert_eq!(Hello::decode(&with(&["a", "a"]).encode()), Err(ProtocolError::OutOfRange));
    assert_eq!(Hello::decode(&with(&["a", "b", "c", "d", "e"]).encode()), Err(ProtocolError::OutOfRange));
    for bad in ["", "a b", "a\"b", "ä", "../x/y"] {
        assert_eq!(Hello::decode(&with(&[bad]).encode()), Err(ProtocolError::BadText), "{bad}");
    }
}

#[test]
fn unknown_and_missing_fields_are_refused() {
    let mut e = Encoder::new();
    e.map(2).uint(1).uint(1).uint(2).uint(1);
    assert_eq!(ErrorMessage::decode(&e.finish()), Err(ProtocolError::OutOfRange));
    let mut e = Encoder::new();
    e.map(1).uint(2).uint(1);
    assert_eq!(ErrorMessage::decode(&e.finish()), Err(ProtocolError::UnknownKey(2)));
    assert_eq!(ErrorMessage::decode(&[0xa0]), Err(ProtocolError::MissingKey(1)));
    let mut trailing = ErrorMessage { class: ErrorClass::BUSY }.encode();
    trailing.push(0);
    assert_eq!(ErrorMessage::decode(&trailing), Err(ProtocolError::TrailingBytes));
}

proptest! {
    #[test]
    fn what_decodes_has_one_encoding(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(m) = Hello::decode(&bytes) { prop_assert_eq!(m.encode(), bytes.clone()); }
        if let Ok(m) = Challenge::decode(&bytes) { prop_assert_eq!(m.encode(), bytes.clone()); }
        if let Ok(m) = ResultMessage::decode(&bytes) { prop_assert_eq!(m.encode(), bytes.clone()); }
        if let Ok(m) = ErrorMessage::decode(&bytes) { prop_assert_eq!(m.encode(), bytes); }
    }

    #[test]
    fn damaged_messages_decode_to_themselves_or_not_at_all(at: prop::sample::Index, to: u8, cut: prop::sample::Index) {
        let sealed = seal_one();
        let bodies = [hello().encode(), fields(Some(vec![1; 40])).encode(), sealed];
        for body in bodies {
            let mut damaged = body.clone();
            let index = at.index(damaged.len());
            damaged[index] = to;
            if let Ok(m) = Hello::decode(&damaged) { prop_assert_eq!(m.encode(), damaged.clone()); }
            if let Ok(m) = ChallengeFields::decode(&damaged) { prop_assert_eq!(m.encode(), damaged.clone()); }
            if let Ok(m) = ResultMessage::decode(&damaged) { prop_assert_eq!(m.encode(), damaged.clone()); }
            let short = &body[..cut.index(body.len())];
            prop_assert!(Hello::decode(short).is_err());
            prop_assert!(ChallengeFields::decode(short).is_err());
            prop_assert!(ResultMessage::decode(short).is_err());
            prop_assert!(EvidenceMessage::decode(short).is_err());
        }
    }
}

fn seal_one() -> Vec<u8> {
    let secret = crate::protocol::seal::Secret { id: "s".into(), bytes: vec![1, 2, 3].into() };
    let (secrets, _) = crate::protocol::seal::seal(&[&secret], &key(), &[0; 48], random).unwrap();
    ResultMessage { status: ErrorClass::OK, secrets }.encode()
}
