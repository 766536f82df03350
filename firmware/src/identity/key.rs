//! P-384 keys in the platform's form.

use p384::SecretKey;
use p384::ecdsa::signature::Signer;
use p384::ecdsa::{Signature, SigningKey};
use sha2::{Digest, Sha384};
use snafu::Snafu;

use super::{PUBLIC_KEY_LEN, SIGNATURE_LEN, put};
use crate::measure::Digest384;

/// P-384 in a public key's first field.
pub(super) const CURVE_P384: u32 = 2;
/// Bytes that a coordinate or half a signature has there; those of P-384 have 48.
pub(super) const FIELD: usize = 72;
/// How the two kinds of PEM that hold a private key begin.
const BEGINNINGS: [&str; 2] = ["-----BEGIN EC PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----"];

/// A file does not hold a usable key. No message quotes any of it.
#[derive(Debug, Snafu)]
pub enum IdKeyError {
    /// No private key at all.
    #[snafu(display(
        "it has no private key in PEM form. Make one with `openssl ecparam -name secp384r1 -genkey -noout`"
    ))]
    NotPem,
    /// The key has a password.
    #[snafu(display("its key is encrypted. Decrypt it with `openssl pkey` first"))]
    Encrypted,
    /// The key is not on P-384, or broken.
    #[snafu(display(
        "its key is not an elliptic curve key on P-384, the only kind that SNP knows. Make one with \
         `openssl ecparam -name secp384r1 -genkey -noout`"
    ))]
    NotP384,
}

/// A private key that signs ID blocks, or the keys that do.
#[derive(Clone)]
pub struct IdKey {
    key: SigningKey,
}

impl std::fmt::Debug for IdKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdKey").field("digest", &self.digest()).finish_non_exhaustive()
    }
}

impl IdKey {
    /// Reads a key in PEM form: SEC 1 or PKCS #8, also behind a block of curve parameters.
    pub fn from_pem(text: &str) -> Result<Self, IdKeyError> {
        if text.contains("ENCRYPTED") {
            return EncryptedSnafu.fail();
        }
        let start = BEGINNINGS.iter().find_map(|beginning| text.find(beginning));
        let Some(pem) = start.and_then(|start| text.get(start..)) else { return NotPemSnafu.fail() };
        let key = SecretKey::from_pem(pem.trim_end()).map_err(|_| NotP384Snafu.build())?;
        Ok(IdKey { key: key.into() })
    }

    /// The public key, as the platform takes it.
    pub fn public(&self) -> [u8; PUBLIC_KEY_LEN] {
        let point = self.key.verifying_key().to_sec1_point(false);
        let mut key = [0; PUBLIC_KEY_LEN];
        put(&mut key, 0, &CURVE_P384.to_le_bytes());
        for (n, coordinate) in [point.x(), point.y()].into_iter().flatten().enumerate() {
            put_reversed(&mut key, 4 + n * FIELD, coordinate);
        }
        key
    }

    /// SHA-384 of the public key: what attestation reports call the key.
    pub fn digest(&self) -> Digest384 {
        Digest384(Sha384::digest(self.public()).into())
    }

    /// Signs `bytes`. The signature is deterministic (RFC 6979).
    pub fn sign(&self, bytes: &[u8]) -> [u8; SIGNATURE_LEN] {
        let signature: Signature = self.key.sign(bytes);
        let mut out = [0; SIGNATURE_LEN];
        let (r, s) = signature.split_bytes();
        put_reversed(&mut out, 0, &r);
        put_reversed(&mut out, FIELD, &s);
        out
    }
}

/// Big-endian bytes as little-endian ones.
fn put_reversed(to: &mut [u8], at: usize, number: &[u8]) {
    to[at..].iter_mut().zip(number.iter().rev()).for_each(|(to, from)| *to = *from);
}
