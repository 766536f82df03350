//! Sealing: ECDH-ES+A256KW with A256GCM, the parts of a JWE (RFC 7516, 7518) as bytes.
//!
//! The same scheme that key broker services use, so a guest has one way to open a secret. The
//! protected header also names the secret and the transcript: a sealed secret opens in the session
//! that it was made for and nowhere else.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_kw::KwAes256;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256, Sha384};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::base64url;
use super::cbor::{Decoder, Encoder};
use super::keys::{EphemeralKey, PublicKey, random_bytes};
use super::message::secret_id;
use super::{MAX_SECRET_LEN, ProtocolError};
use crate::Random;

/// "alg" of the header, and AlgorithmID of the key derivation (RFC 7518 §4.6.2).
const ALG: &str = "ECDH-ES+A256KW";
/// AlgorithmID for the key of CONFIRM, from the same agreement.
const CONFIRM_ALG: &str = "CCAT/1 confirm";
/// Longest protected header: fixed text, two coordinates, an id and a hash.
const MAX_PROTECTED: usize = 512;

/// A released secret, in the clear. Wiped when dropped.
#[derive(Clone)]
pub struct Secret {
    /// Its name.
    pub id: String,
    /// Its bytes.
    pub bytes: Zeroizing<Vec<u8>>,
}

impl Secret {
    /// SHA-256 of the bytes, to talk about a secret without telling it.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.bytes.as_slice()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({:?}, {} bytes)", self.id, self.bytes.len())
    }
}

/// A secret that only the key named in the evidence opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// 1: the secret's name.
    pub id: String,
    /// 2: the JWE protected header, JSON text.
    pub protected: Vec<u8>,
    /// 3: the content key, wrapped.
    pub encrypted_key: [u8; 40],
    /// 4: the nonce of A256GCM.
    pub iv: [u8; 12],
    /// 5: the secret.
    pub ciphertext: Vec<u8>,
    /// 6: the tag of A256GCM.
    pub tag: [u8; 16],
}

impl Sealed {
    pub(super) fn encode(&self, e: &mut Encoder) {
        e.map(6).uint(1).text(&self.id).uint(2).bytes(&self.protected).uint(3).bytes(&self.encrypted_key);
        e.uint(4).bytes(&self.iv).uint(5).bytes(&self.ciphertext).uint(6).bytes(&self.tag);
    }

    pub(super) fn decode(d: &mut Decoder<'_>) -> Result<Self, ProtocolError> {
        let mut keys = d.map(6)?;
        // Every key is there exactly once, in order, or this is not a sealed secret.
        let mut expect = |d: &mut Decoder<'_>, want: u64| match keys.next(d)? {
            Some(key) if key == want => Ok(()),
            Some(key) if key > 6 => Err(ProtocolError::UnknownKey(key)),
            _ => Err(ProtocolError::MissingKey(want)),
        };
        expect(d, 1)?;
        let id = secret_id(d)?;
        expect(d, 2)?;
        let protected = d.bytes(MAX_PROTECTED)?.to_vec();
        expect(d, 3)?;
        let encrypted_key = d.array_of()?;
        expect(d, 4)?;
        let iv = d.array_of()?;
        expect(d, 5)?;
        let ciphertext = d.bytes(MAX_SECRET_LEN)?.to_vec();
        expect(d, 6)?;
        let tag = d.array_of()?;
        Ok(Self { id, protected, encrypted_key, iv, ciphertext, tag })
    }
}

/// ConcatKDF with SHA-256, 256 bits of output (NIST SP 800-56A §5.8.1, RFC 7518 §4.6.2).
fn concat_kdf(z: &[u8; 32], algorithm: &str) -> Zeroizing<[u8; 32]> {
    let mut hash = Sha256::new();
    hash.update(1u32.to_be_bytes());
    hash.update(z);
    // AlgorithmID, then empty PartyUInfo and PartyVInfo, each with its length before it.
    hash.update(u32::try_from(algorithm.len()).unwrap_or(u32::MAX).to_be_bytes());
    hash.update(algorithm);
    hash.update([0; 8]);
    hash.update(256u32.to_be_bytes());
    Zeroizing::new(hash.finalize().into())
}

fn protected_header(epk: &PublicKey, id: &str, transcript: &[u8; 48]) -> String {
    let bytes = epk.as_bytes();
    let (x, y) = (bytes.get(1..33).unwrap_or_default(), bytes.get(33..).unwrap_or_default());
    format!(
        r#"{{"alg":"{ALG}","enc":"A256GCM","epk":{{"kty":"EC","crv":"P-256","x":"{}","y":"{}"}},"kid":"{id}","transcript":"{}"}}"#,
        base64url::encode(x),
        base64url::encode(y),
        base64url::encode(transcript),
    )
}

/// Finds the sender's key in a header. The caller then compares the whole header with the one it expects.
fn sender_key(protected: &[u8]) -> Option<PublicKey> {
    let text = core::str::from_utf8(protected).ok()?;
    let (_, rest) = text.split_once(r#""x":""#)?;
    let (x, rest) = rest.split_once(r#"","y":""#)?;
    let (y, _) = rest.split_once('"')?;
    let mut point = [4u8; 65];
    let (head, tail) = point.split_at_mut(33);
    head.iter_mut().skip(1).zip(base64url::decode_32(x.as_bytes())?).for_each(|(to, from)| *to = from);
    tail.iter_mut().zip(base64url::decode_32(y.as_bytes())?).for_each(|(to, from)| *to = from);
    PublicKey::from_bytes(&point).ok()
}

/// The key that both sides have once a RESULT is made or opened, for CONFIRM.
pub struct ConfirmKey(Zeroizing<[u8; 32]>);

impl ConfirmKey {
    fn hmac(&self, transcript: &[u8; 48]) -> Hmac<Sha384> {
        // The key is shorter than the block, which `new` pads with zeros, as HMAC does.
        let mut block = Zeroizing::new([0u8; 128]);
        block.iter_mut().zip(self.0.iter()).for_each(|(to, from)| *to = *from);
        let mut mac = Hmac::<Sha384>::new(&(*block).into());
        mac.update(transcript);
        mac
    }

    /// The MAC to send.
    pub fn mac(&self, transcript: &[u8; 48]) -> [u8; 48] {
        self.hmac(transcript).finalize().into_bytes().into()
    }

    /// Checks a MAC that came, in constant time.
    pub fn verify(&self, transcript: &[u8; 48], mac: &[u8; 48]) -> Result<(), ProtocolError> {
        if bool::from(self.mac(transcript).ct_eq(mac)) { Ok(()) } else { Err(ProtocolError::BadMac) }
    }
}

impl fmt::Debug for ConfirmKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConfirmKey(..)")
    }
}

/// Seals `secrets` to the guest's key.
pub fn seal(
    secrets: &[&Secret],
    guest: &PublicKey,
    transcript: &[u8; 48],
    random: Random,
) -> Result<(Vec<Sealed>, ConfirmKey), ProtocolError> {
    let sender = EphemeralKey::generate(random)?;
    let z = sender.agree(guest);
    let kek = KwAes256::new(&(*concat_kdf(&z, ALG)).into());
    let seal_one = |secret: &&Secret| {
        let cek = Zeroizing::new(random_bytes::<32>(random)?);
        let iv = random_bytes::<12>(random)?;
        let protected = protected_header(sender.public(), &secret.id, transcript);
        let mut encrypted_key = [0u8; 40];
        kek.wrap_key(&*cek, &mut encrypted_key).map_err(|_| ProtocolError::BadSeal)?;
        // The buffer holds the plaintext first, and is overwritten in place.
        let mut ciphertext = secret.bytes.to_vec();
        let tag = Aes256Gcm::new(&(*cek).into())
            .encrypt_inout_detached(&iv.into(), aad(&protected).as_bytes(), ciphertext.as_mut_slice().into())
            .map_err(|_| ProtocolError::BadSeal)?;
        Ok(Sealed {
            id: secret.id.clone(),
            protected: protected.into_bytes(),
            encrypted_key,
            iv,
            ciphertext,
            tag: tag.into(),
        })
    };
    let sealed = secrets.iter().map(seal_one).collect::<Result<_, ProtocolError>>()?;
    Ok((sealed, ConfirmKey(concat_kdf(&z, CONFIRM_ALG))))
}

/// The additional authenticated data of a JWE: the header's base64url.
fn aad(protected: &str) -> String {
    base64url::encode(protected.as_bytes())
}

/// Opens everything in a RESULT. All are sealed under one agreement, or none opens.
pub fn open(
    sealed: &[Sealed],
    key: &EphemeralKey,
    transcript: &[u8; 48],
) -> Result<(Vec<Secret>, ConfirmKey), ProtocolError> {
    let first = sealed.first().ok_or(ProtocolError::BadSeal)?;
    let sender = sender_key(&first.protected).ok_or(ProtocolError::BadSeal)?;
    let z = key.agree(&sender);
    let kek = KwAes256::new(&(*concat_kdf(&z, ALG)).into());
    let open_one = |sealed: &Sealed| {
        let expected = protected_header(&sender, &sealed.id, transcript);
        if expected.as_bytes() != sealed.protected {
            return Err(ProtocolError::BadSeal);
        }
        let mut cek = Zeroizing::new([0u8; 32]);
        kek.unwrap_key(&sealed.encrypted_key, &mut *cek).map_err(|_| ProtocolError::BadSeal)?;
        let mut bytes = Zeroizing::new(sealed.ciphertext.clone());
        Aes256Gcm::new(&(*cek).into())
            .decrypt_inout_detached(
                &sealed.iv.into(),
                aad(&expected).as_bytes(),
                bytes.as_mut_slice().into(),
                &sealed.tag.into(),
            )
            .map_err(|_| ProtocolError::BadSeal)?;
        Ok(Secret { id: sealed.id.clone(), bytes })
    };
    let secrets = sealed.iter().map(open_one).collect::<Result<_, ProtocolError>>()?;
    Ok((secrets, ConfirmKey(concat_kdf(&z, CONFIRM_ALG))))
}

#[cfg(test)]
#[path = "seal_test.rs"]
mod tests;
