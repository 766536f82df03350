//! The SNP ID block of a file, and the two structures that a launch is given instead.

use snafu::ensure;

use super::entry::Entry;
use super::error::*;
use crate::measure::Digest384;

/// Bytes of the ID block of SNP_LAUNCH_FINISH (SEV-SNP firmware ABI, table 75).
pub const ID_BLOCK_LEN: usize = 96;
/// Bytes of the ID authentication of SNP_LAUNCH_FINISH (SEV-SNP firmware ABI, table 76).
pub const ID_AUTH_LEN: usize = 4096;

/// A signature: r and s, 72 bytes each, little-endian.
type Signature = [u8; 144];

/// A public key: curve, then x and y, 72 bytes each, little-endian.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PublicKey {
    curve: u32,
    point: [u8; 144],
}

/// SNP_ID_BLOCK: what the author of the file expects, signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdBlockHeader {
    /// For which platforms.
    pub mask: u32,
    /// Whether the author key counts.
    pub author_key_enabled: bool,
    /// The launch digest that the author expects.
    pub launch_digest: Digest384,
    /// FAMILY_ID.
    pub family_id: [u8; 16],
    /// IMAGE_ID.
    pub image_id: [u8; 16],
    /// Version of the ID block, 1.
    pub version: u32,
    /// GUEST_SVN.
    pub guest_svn: u32,
    id_key_algorithm: u32,
    author_key_algorithm: u32,
    id_signature: Signature,
    id_key: PublicKey,
    author_signature: Signature,
    author_key: PublicKey,
}

/// The structures of SNP_LAUNCH_FINISH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdBlock {
    /// ID block.
    pub block: [u8; ID_BLOCK_LEN],
    /// ID authentication.
    pub auth: Box<[u8; ID_AUTH_LEN]>,
    /// AUTH_KEY_EN.
    pub author_key_enabled: bool,
}

impl IdBlockHeader {
    pub(super) fn parse(e: &Entry<'_>) -> Result<Self, IgvmError> {
        e.sized(696)?;
        let [enabled, r0, r1, r2] = e.bytes(4);
        e.zero("author_key_enabled (beyond 1)", enabled & !1)?;
        e.zero("reserved", u32::from_le_bytes([r0, r1, r2, 0]))?;
        let key = |at: usize| -> Result<PublicKey, IgvmError> {
            e.zero("reserved of a key", e.u32(at.saturating_add(4)))?;
            Ok(PublicKey { curve: e.u32(at), point: e.bytes(at.saturating_add(8)) })
        };
        let this = IdBlockHeader {
            mask: e.u32(0),
            author_key_enabled: enabled == 1,
            launch_digest: Digest384(e.bytes(8)),
            family_id: e.bytes(56),
            image_id: e.bytes(72),
            version: e.u32(88),
            guest_svn: e.u32(92),
            id_key_algorithm: e.u32(96),
            author_key_algorithm: e.u32(100),
            id_signature: e.bytes(104),
            id_key: key(248)?,
            author_signature: e.bytes(400),
            author_key: key(544)?,
        };
        ensure!(this.version == 1, IdBlockVersionSnafu { offset: e.offset, found: this.version });
        Ok(this)
    }

    /// Packs it as the platform wants it, for a launch with this policy (coco.md 2.9).
    pub fn pack(&self, policy: u64) -> IdBlock {
        let mut block = [0; ID_BLOCK_LEN];
        put(&mut block, 0, &self.launch_digest.0);
        put(&mut block, 48, &self.family_id);
        put(&mut block, 64, &self.image_id);
        put(&mut block, 80, &self.version.to_le_bytes());
        put(&mut block, 84, &self.guest_svn.to_le_bytes());
        put(&mut block, 88, &policy.to_le_bytes());

        let mut auth = Box::new([0; ID_AUTH_LEN]);
        let page = auth.as_mut_slice();
        put(page, 0, &self.id_key_algorithm.to_le_bytes());
        put(page, 64, &self.id_signature);
        put_key(page, 576, &self.id_key);
        // Without an author key all of its fields stay zero.
        if self.author_key_enabled {
            put(page, 4, &self.author_key_algorithm.to_le_bytes());
            put(page, 1664, &self.author_signature);
            put_key(page, 2176, &self.author_key);
        }
        IdBlock { block, auth, author_key_enabled: self.author_key_enabled }
    }
}

/// A key in the platform's form has no reserved word behind the curve.
fn put_key(page: &mut [u8], at: usize, key: &PublicKey) {
    put(page, at, &key.curve.to_le_bytes());
    put(page, at.saturating_add(4), &key.point);
}

/// Copies `bytes` to `at`; all places are constants inside.
fn put(page: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(to) = page.get_mut(at..).and_then(|p| p.get_mut(..bytes.len())) {
        to.copy_from_slice(bytes);
    }
}
