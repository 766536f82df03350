//! The ID block: what the guest's owner signed (SEV-SNP firmware ABI, 8.18; coco.md 2.9). Written from the
//! specification, apart from the code that makes ID blocks.

use p384::ecdsa::signature::Verifier;
use p384::ecdsa::{Signature, VerifyingKey};
use sha2::{Digest, Sha384};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::snp::abi::FirmwareCode;

/// ECDSA over P-384 with SHA-384, the one algorithm.
const ALGORITHM: u32 = 1;
/// P-384 in a public key.
const CURVE: u32 = 2;
/// The one version of the block.
const VERSION: u32 = 1;

/// A number of a signature or key: little-endian, of which P-384 fills 48 bytes.
type Number = [u8; 72];

#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct IdBlock {
    launch_digest: [u8; 48],
    family_id: [u8; 16],
    image_id: [u8; 16],
    version: U32,
    guest_svn: U32,
    policy: U64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct RawSignature {
    r: Number,
    s: Number,
    reserved: [u8; 368],
}

#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct RawKey {
    curve: U32,
    x: Number,
    y: Number,
    reserved: [u8; 880],
}

#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct IdAuth {
    id_key_algorithm: U32,
    author_key_algorithm: U32,
    reserved1: [u8; 56],
    id_block_signature: RawSignature,
    id_key: RawKey,
    reserved2: [u8; 60],
    id_key_signature: RawSignature,
    author_key: RawKey,
    reserved3: [u8; 892],
}

const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<IdBlock>() == 96 && offset_of!(IdBlock, policy) == 88);
    assert!(size_of::<RawSignature>() == 512 && size_of::<RawKey>() == 1028);
    assert!(size_of::<IdAuth>() == 4096 && offset_of!(IdAuth, id_key) == 576);
    assert!(offset_of!(IdAuth, id_key_signature) == 1664 && offset_of!(IdAuth, author_key) == 2176);
};

/// Whose guest it is, as reports have it. Zeros without an ID block.
#[derive(Debug, Clone, Default)]
pub(in crate::sim) struct Owner {
    pub(in crate::sim) family_id: [u8; 16],
    pub(in crate::sim) image_id: [u8; 16],
    pub(in crate::sim) guest_svn: u32,
    pub(in crate::sim) id_key_digest: Key,
    /// Of the author key, if there was one.
    pub(in crate::sim) author_key_digest: Option<Key>,
}

/// SHA-384 of a public key in the firmware's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sim) struct Key(pub(in crate::sim) [u8; 48]);

impl Default for Key {
    fn default() -> Self {
        Key([0; 48])
    }
}

impl Owner {
    /// Checks an ID block against a launch.
    pub(super) fn check(
        block: &[u8; 96],
        auth: &[u8; 4096],
        author: bool,
        digest: &[u8; 48],
        policy: u64,
    ) -> Result<Self, FirmwareCode> {
        let id: IdBlock = zerocopy::transmute!(*block);
        let auth: IdAuth = zerocopy::transmute!(*auth);
        // In the order of AMD's published firmware (snp_mcmd_launch_finish): of two mistakes, an operator hears
        // of the same one here.
        if id.launch_digest != *digest {
            return Err(FirmwareCode::BAD_MEASUREMENT);
        }
        if id.policy.get() != policy {
            return Err(FirmwareCode::POLICY_FAILURE);
        }
        let author_algorithm = if author { ALGORITHM } else { auth.author_key_algorithm.get() };
        let right = id.version.get() == VERSION
            && auth.id_key_algorithm.get() == ALGORITHM
            && auth.author_key_algorithm.get() == author_algorithm;
        if !right {
            return Err(FirmwareCode::INVALID_PARAM);
        }
        if !signed(&auth.id_key, block, &auth.id_block_signature) {
            return Err(FirmwareCode::BAD_SIGNATURE);
        }
        if author && !signed(&auth.author_key, auth.id_key.as_bytes(), &auth.id_key_signature) {
            return Err(FirmwareCode::BAD_SIGNATURE);
        }
        let of = |key: &RawKey| Key(Sha384::digest(key.as_bytes()).into());
        Ok(Owner {
            family_id: id.family_id,
            image_id: id.image_id,
            guest_svn: id.guest_svn.get(),
            id_key_digest: of(&auth.id_key),
            author_key_digest: author.then(|| of(&auth.author_key)),
        })
    }
}

fn signed(key: &RawKey, bytes: &[u8], signature: &RawSignature) -> bool {
    let verify = || {
        let (x, y) = (big_endian(&key.x)?, big_endian(&key.y)?);
        let sec1 = [&[4], &x[..], &y[..]].concat();
        let key = VerifyingKey::from_sec1_bytes(&sec1).ok().filter(|_| key.curve.get() == CURVE)?;
        let (r, s) = (big_endian(&signature.r)?, big_endian(&signature.s)?);
        let signature = Signature::from_scalars(r, s).ok()?;
        key.verify(bytes, &signature).ok()
    };
    verify().is_some()
}

/// None if the number is too large for P-384.
fn big_endian(number: &Number) -> Option<[u8; 48]> {
    let (low, high) = number.split_first_chunk::<48>()?;
    let mut bytes = *low;
    bytes.reverse();
    high.iter().all(|b| *b == 0).then_some(bytes)
}
