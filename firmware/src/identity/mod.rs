//! The ID block of an SNP launch: the digest that the guest's owner expects, signed, so that the platform
//! refuses to launch anything else and reports whose guest it is (SEV-SNP firmware ABI, SNP_LAUNCH_FINISH,
//! chapter 8.18).

mod key;
mod verify;

pub use key::{IdKey, IdKeyError};
pub use verify::{IdFault, verify_id};

use crate::measure::Digest384;

/// Bytes in an ID block.
pub const ID_BLOCK_LEN: usize = 96;
/// Bytes in the page with keys and signatures.
pub const ID_AUTH_LEN: usize = 4096;
/// Bytes in a signature: r and s, 72 each, little-endian, then zeros.
pub const SIGNATURE_LEN: usize = 512;
/// Bytes in a public key: curve, x and y, 72 each, little-endian, then zeros.
pub const PUBLIC_KEY_LEN: usize = 1028;

/// The version that there is.
const VERSION: u32 = 1;
/// ECDSA over P-384 with SHA-384.
const ALGORITHM: u32 = 1;

/// Offsets in the page.
mod at {
    pub(super) const ID_KEY_ALGORITHM: usize = 0;
    pub(super) const AUTHOR_KEY_ALGORITHM: usize = 4;
    pub(super) const ID_BLOCK_SIGNATURE: usize = 64;
    pub(super) const ID_KEY: usize = 576;
    pub(super) const ID_KEY_SIGNATURE: usize = 1664;
    pub(super) const AUTHOR_KEY: usize = 2176;
}

/// What an ID block says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdBlock {
    /// The launch digest that is expected.
    pub digest: Digest384,
    /// FAMILY_ID: the owner's.
    pub family_id: [u8; 16],
    /// IMAGE_ID: the owner's.
    pub image_id: [u8; 16],
    /// GUEST_SVN: the owner's.
    pub guest_svn: u32,
    /// The policy that the guest must be launched with.
    pub policy: u64,
}

impl IdBlock {
    /// Reads a block; the error is a version that nobody defined.
    pub fn parse(block: &[u8; ID_BLOCK_LEN]) -> Result<Self, u32> {
        let version = u32::from_le_bytes(array(block, 80));
        if version != VERSION {
            return Err(version);
        }
        Ok(IdBlock {
            digest: Digest384(array(block, 0)),
            family_id: array(block, 48),
            image_id: array(block, 64),
            guest_svn: u32::from_le_bytes(array(block, 84)),
            policy: u64::from_le_bytes(array(block, 88)),
        })
    }

    /// Whether the page with keys and signatures names an author.
    pub fn has_author(auth: &[u8; ID_AUTH_LEN]) -> bool {
        array(auth, at::AUTHOR_KEY_ALGORITHM) != [0; 4]
    }

    /// The block as the platform takes it.
    pub fn bytes(&self) -> [u8; ID_BLOCK_LEN] {
        let mut block = [0; ID_BLOCK_LEN];
        put(&mut block, 0, &self.digest.0);
        put(&mut block, 48, &self.family_id);
        put(&mut block, 64, &self.image_id);
        put(&mut block, 80, &VERSION.to_le_bytes());
        put(&mut block, 84, &self.guest_svn.to_le_bytes());
        put(&mut block, 88, &self.policy.to_le_bytes());
        block
    }

    /// Signs the block with the ID key, and the ID key with the author's, if there is one.
    pub fn sign(&self, id_key: &IdKey, author: Option<&IdKey>) -> SignedId {
        let block = self.bytes();
        let mut auth = Box::new([0; ID_AUTH_LEN]);
        let public = id_key.public();
        put(&mut *auth, at::ID_KEY_ALGORITHM, &ALGORITHM.to_le_bytes());
        put(&mut *auth, at::ID_BLOCK_SIGNATURE, &id_key.sign(&block));
        put(&mut *auth, at::ID_KEY, &public);
        if let Some(author) = author {
            put(&mut *auth, at::AUTHOR_KEY_ALGORITHM, &ALGORITHM.to_le_bytes());
            put(&mut *auth, at::ID_KEY_SIGNATURE, &author.sign(&public));
            put(&mut *auth, at::AUTHOR_KEY, &author.public());
        }
        SignedId { block, auth, id_key_digest: id_key.digest(), author_key_digest: author.map(IdKey::digest) }
    }
}

/// What a launch is finished with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedId {
    /// The ID block.
    pub block: [u8; ID_BLOCK_LEN],
    /// The page with keys and signatures.
    pub auth: Box<[u8; ID_AUTH_LEN]>,
    /// ID_KEY_DIGEST of attestation reports.
    pub id_key_digest: Digest384,
    /// AUTHOR_KEY_DIGEST of attestation reports, if there is an author.
    pub author_key_digest: Option<Digest384>,
}

/// Bytes of a structure, at an offset of this file's.
fn array<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&from[at..at + N]);
    bytes
}

fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    to[at..at + bytes.len()].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests;
