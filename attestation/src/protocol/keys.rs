//! P-256 keys: the broker's static signing key, and the ephemeral ones of a session.

use core::fmt;

use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::elliptic_curve::sec1::ToSec1Point;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::ProtocolError;
use crate::Random;

/// Length of an uncompressed SEC1 point: 0x04, x, y.
pub const PUBLIC_KEY_LEN: usize = 65;

/// A public key in uncompressed SEC1 form, known to be a point of the curve.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey {
    bytes: [u8; PUBLIC_KEY_LEN],
    point: p256::PublicKey,
}

impl PublicKey {
    /// Reads a key; only uncompressed points of the curve are accepted.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let bytes: [u8; PUBLIC_KEY_LEN] = bytes.try_into().map_err(|_| ProtocolError::BadKey)?;
        if bytes.first() != Some(&4) {
            return Err(ProtocolError::BadKey);
        }
        let point = p256::PublicKey::from_sec1_bytes(&bytes).map_err(|_| ProtocolError::BadKey)?;
        Ok(Self { bytes, point })
    }

    fn of(secret: &p256::SecretKey) -> Result<Self, ProtocolError> {
        Self::from_bytes(secret.public_key().to_sec1_point(false).as_bytes())
    }

    /// 0x04, x, y.
    pub fn as_bytes(&self) -> &[u8; PUBLIC_KEY_LEN] {
        &self.bytes
    }

    /// SHA-256 of the uncompressed point, as init data names a key.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.bytes).into()
    }

    /// Checks an ECDSA signature (r, s; big-endian) over a SHA-384 digest.
    pub fn verify(&self, digest: &[u8; 48], signature: &[u8; 64]) -> Result<(), ProtocolError> {
        let signature = Signature::from_slice(signature).map_err(|_| ProtocolError::BadSignature)?;
        let key = VerifyingKey::from(&self.point);
        key.verify_prehash(digest, &signature).map_err(|_| ProtocolError::BadSignature)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey(")?;
        self.bytes.iter().take(9).try_for_each(|b| write!(f, "{b:02x}"))?;
        f.write_str("..)")
    }
}

/// Fills `N` bytes, refusing the all-zero result of a source that does not work.
pub(crate) fn random_bytes<const N: usize>(random: Random) -> Result<[u8; N], ProtocolError> {
    let mut bytes = [0u8; N];
    random(&mut bytes);
    if bool::from(bytes.ct_eq(&[0; N])) { Err(ProtocolError::Random) } else { Ok(bytes) }
}

fn random_secret(random: Random) -> Result<p256::SecretKey, ProtocolError> {
    // A draw misses the scalar field with probability 2^-32: eight misses mean a broken source.
    for _ in 0..8 {
        let bytes = Zeroizing::new(random_bytes::<32>(random)?);
        if let Ok(key) = p256::SecretKey::from_slice(&*bytes) {
            return Ok(key);
        }
    }
    Err(ProtocolError::Random)
}

/// The broker's long-lived signing key.
#[derive(Clone)]
pub struct StaticKey {
    secret: p256::SecretKey,
    public: PublicKey,
}

impl StaticKey {
    /// Makes a new key.
    pub fn generate(random: Random) -> Result<Self, ProtocolError> {
        let secret = random_secret(random)?;
        Ok(Self { public: PublicKey::of(&secret)?, secret })
    }

    /// Takes a key from its 32-byte scalar, big-endian.
    pub fn from_scalar(bytes: &[u8; 32]) -> Result<Self, ProtocolError> {
        let secret = p256::SecretKey::from_slice(bytes).map_err(|_| ProtocolError::BadKey)?;
        Ok(Self { public: PublicKey::of(&secret)?, secret })
    }

    /// The scalar, for storing the key.
    pub fn to_scalar(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.secret.to_bytes().into())
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a SHA-384 digest; deterministic (RFC 6979), so that it needs no randomness.
    pub fn sign(&self, digest: &[u8; 48]) -> Result<[u8; 64], ProtocolError> {
        let key = SigningKey::from(&self.secret);
        let signature: Signature = key.sign_prehash(digest).map_err(|_| ProtocolError::BadSignature)?;
        Ok(signature.to_bytes().into())
    }
}

impl fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// A key that lives for one session.
pub struct EphemeralKey {
    secret: p256::SecretKey,
    public: PublicKey,
}

impl EphemeralKey {
    /// Makes a new key.
    pub fn generate(random: Random) -> Result<Self, ProtocolError> {
        let secret = random_secret(random)?;
        Ok(Self { public: PublicKey::of(&secret)?, secret })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The x coordinate of the shared point.
    pub(crate) fn agree(&self, peer: &PublicKey) -> Zeroizing<[u8; 32]> {
        let shared = self.secret.diffie_hellman(&peer.point);
        Zeroizing::new((*shared.raw_secret_bytes()).into())
    }
}

impl fmt::Debug for EphemeralKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EphemeralKey").field("public", &self.public).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::test_random::random;

    #[test]
    fn signatures_verify_and_only_under_their_key() {
        let key = StaticKey::generate(random).unwrap();
        let other = StaticKey::generate(random).unwrap();
        let signature = key.sign(&[7; 48]).unwrap();
        assert_eq!(key.public().verify(&[7; 48], &signature), Ok(()));
        assert!(key.public().verify(&[8; 48], &signature).is_err());
        assert!(other.public().verify(&[7; 48], &signature).is_err());
        assert!(key.public().verify(&[7; 48], &[0; 64]).is_err());
        assert_eq!(StaticKey::from_scalar(&key.to_scalar()).unwrap().public(), key.public());
    }

    #[test]
    fn only_uncompressed_points_are_keys() {
        let key = StaticKey::generate(random).unwrap();
        let bytes = *key.public().as_bytes();
        assert!(PublicKey::from_bytes(&bytes).is_ok());
        let mut compressed = bytes[..33].to_vec();
        compressed[0] = 2 | (bytes[64] & 1);
        assert!(PublicKey::from_bytes(&compressed).is_err());
        let mut off_curve = bytes;
        off_curve[64] ^= 1;
        assert!(PublicKey::from_bytes(&off_curve).is_err());
        assert!(PublicKey::from_bytes(&[0]).is_err());
        assert!(PublicKey::from_bytes(&[]).is_err());
    }

    #[test]
    fn agreement_is_mutual() {
        let (a, b) = (EphemeralKey::generate(random).unwrap(), EphemeralKey::generate(random).unwrap());
        assert_eq!(*a.agree(b.public()), *b.agree(a.public()));
    }

    #[test]
    fn a_dead_random_source_is_noticed() {
        assert_eq!(StaticKey::generate(|_| ()).err(), Some(ProtocolError::Random));
        assert_eq!(StaticKey::generate(|b| b.fill(0xff)).err(), Some(ProtocolError::Random));
    }
}
