use super::*;
use crate::protocol::test_random::random;

fn secret(id: &str, bytes: &[u8]) -> Secret {
    Secret { id: id.into(), bytes: bytes.to_vec().into() }
}

#[test]
fn sealed_secrets_open_in_their_session() {
    let guest = EphemeralKey::generate(random).unwrap();
    let (a, b) = (secret("a", b"first"), secret("b", &[7; MAX_SECRET_LEN]));
    let (sealed, broker_key) = seal(&[&a, &b], guest.public(), &[1; 48], random).unwrap();
    let (opened, guest_key) = open(&sealed, &guest, &[1; 48]).unwrap();
    assert_eq!(opened[0].bytes.as_slice(), b"first");
    assert_eq!(opened[1].bytes.as_slice(), b.bytes.as_slice());
    assert_eq!(opened[0].sha256(), a.sha256());
    let mac = guest_key.mac(&[2; 48]);
    assert_eq!(broker_key.verify(&[2; 48], &mac), Ok(()));
    assert_eq!(broker_key.verify(&[3; 48], &mac), Err(ProtocolError::BadMac));
}

#[test]
fn no_other_key_transcript_or_name_opens_it() {
    let guest = EphemeralKey::generate(random).unwrap();
    let (sealed, _) = seal(&[&secret("a", b"x")], guest.public(), &[1; 48], random).unwrap();
    assert!(open(&sealed, &EphemeralKey::generate(random).unwrap(), &[1; 48]).is_err());
    assert!(open(&sealed, &guest, &[2; 48]).is_err());
    let mut renamed = sealed.clone();
    renamed[0].id = "b".into();
    assert!(open(&renamed, &guest, &[1; 48]).is_err());
    assert!(open(&[], &guest, &[1; 48]).is_err());
}

#[test]
fn any_damage_is_noticed() {
    let guest = EphemeralKey::generate(random).unwrap();
    let (sealed, _) = seal(&[&secret("a", b"secret")], guest.public(), &[1; 48], random).unwrap();
    let damage: [fn(&mut Sealed); 5] = [
        |s| s.protected[20] ^= 1,
        |s| s.encrypted_key[39] ^= 1,
        |s| s.iv[0] ^= 1,
        |s| s.ciphertext[0] ^= 1,
        |s| s.tag[15] ^= 1,
    ];
    for (i, change) in damage.into_iter().enumerate() {
        let mut bad = sealed.clone();
        change(&mut bad[0]);
        assert_eq!(open(&bad, &guest, &[1; 48]).err(), Some(ProtocolError::BadSeal), "damage {i}");
    }
}

#[test]
fn secrets_of_two_agreements_do_not_mix() {
    let guest = EphemeralKey::generate(random).unwrap();
    let (mut one, _) = seal(&[&secret("a", b"x")], guest.public(), &[1; 48], random).unwrap();
    let (two, _) = seal(&[&secret("b", b"y")], guest.public(), &[1; 48], random).unwrap();
    one.extend(two);
    assert!(open(&one, &guest, &[1; 48]).is_err());
}

#[test]
fn key_derivation_is_the_jwa_one() {
    // Computed with an independent implementation of RFC 7518 §4.6.2 (Python `cryptography`,
    // ConcatKDFHash over SHA-256, otherinfo as in the RFC).
    let key = concat_kdf(&[0x42; 32], ALG);
    let expected = "70db5a3fefd294900573f25be71d046ba2477c0b9f8ac1ea3db898fff19e37ab";
    assert_eq!(hex::encode(*key), expected);
}
