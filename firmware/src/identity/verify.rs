//! Whether an ID block is signed as the platform wants it, before the platform is asked.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use p384::ecdsa::signature::Verifier;
use p384::ecdsa::{Signature, VerifyingKey};
use snafu::{Snafu, ensure};

use super::key::{CURVE_P384, FIELD};
use super::{ALGORITHM, ID_AUTH_LEN, ID_BLOCK_LEN, PUBLIC_KEY_LEN, SIGNATURE_LEN, at};

/// Bytes of a P-384 coordinate.
const COORDINATE: usize = 48;

/// What the platform would refuse an ID block for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Snafu)]
pub enum IdFault {
    /// Another algorithm than there is.
    #[snafu(display(
        "the algorithm of its {whose} key is {found}, and only 1 (ECDSA P-384 with SHA-384) is known"
    ))]
    Algorithm {
        /// `"ID"` or `"author"`.
        whose: &'static str,
        /// What was found.
        found: u32,
    },
    /// A key that is none.
    #[snafu(display("its {whose} key is not one on P-384"))]
    Key {
        /// `"ID"` or `"author"`.
        whose: &'static str,
    },
    /// The block is not what the ID key signed.
    #[snafu(display(
        "the signature of the ID block is not the ID key's: one of the two files belongs to another block"
    ))]
    BlockSignature,
    /// The ID key is not what the author signed.
    #[snafu(display("the signature of the ID key is not the author key's"))]
    KeySignature,
}

/// Checks the signatures of a block and, if `author`, of its key, as SNP_LAUNCH_FINISH does.
pub fn verify_id(block: &[u8; ID_BLOCK_LEN], auth: &[u8; ID_AUTH_LEN], author: bool) -> Result<(), IdFault> {
    let part = |at: usize, len: usize| auth.get(at..at.saturating_add(len)).unwrap_or_default();
    let algorithm = |at, whose| {
        let found = part(at, 4).try_into().map_or(0, u32::from_le_bytes);
        ensure!(found == ALGORITHM, AlgorithmSnafu { whose, found });
        Ok(())
    };
    let id_key = part(at::ID_KEY, PUBLIC_KEY_LEN);
    algorithm(at::ID_KEY_ALGORITHM, "ID")?;
    let key = public_key(id_key).ok_or(IdFault::Key { whose: "ID" })?;
    let signature = part(at::ID_BLOCK_SIGNATURE, SIGNATURE_LEN);
    ensure!(signed(&key, block, signature), BlockSignatureSnafu);
    if author {
        algorithm(at::AUTHOR_KEY_ALGORITHM, "author")?;
        let key = public_key(part(at::AUTHOR_KEY, PUBLIC_KEY_LEN)).ok_or(IdFault::Key { whose: "author" })?;
        ensure!(signed(&key, id_key, part(at::ID_KEY_SIGNATURE, SIGNATURE_LEN)), KeySignatureSnafu);
    }
    Ok(())
}

fn public_key(bytes: &[u8]) -> Option<VerifyingKey> {
    let (curve, rest) = bytes.split_first_chunk::<4>()?;
    let (x, y) = halves(rest)?;
    let point = [&[4], &x[..], &y[..]].concat();
    VerifyingKey::from_sec1_bytes(&point).ok().filter(|_| u32::from_le_bytes(*curve) == CURVE_P384)
}

fn signed(key: &VerifyingKey, bytes: &[u8], signature: &[u8]) -> bool {
    let signature = halves(signature).and_then(|(r, s)| Signature::from_scalars(r, s).ok());
    signature.is_some_and(|signature| key.verify(bytes, &signature).is_ok())
}

/// Two numbers, little-endian in fields of 72 bytes, as big-endian ones of 48.
fn halves(bytes: &[u8]) -> Option<([u8; COORDINATE], [u8; COORDINATE])> {
    let (first, rest) = bytes.split_at_checked(FIELD)?;
    let number = |field: &[u8]| {
        let (number, zeros) = field.split_at_checked(COORDINATE)?;
        let mut number: [u8; COORDINATE] = number.try_into().ok()?;
        number.reverse();
        zeros.iter().all(|&byte| byte == 0).then_some(number)
    };
    Some((number(first)?, number(rest.get(..FIELD)?)?))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{AUTHOR_KEY, ID_KEY};
    use super::super::{IdBlock, IdKey};
    use super::*;
    use crate::measure::Digest384;

    fn signed_by(author: bool) -> ([u8; ID_BLOCK_LEN], [u8; ID_AUTH_LEN]) {
        let block = IdBlock {
            digest: Digest384([9; 48]),
            family_id: [1; 16],
            image_id: [2; 16],
            guest_svn: 3,
            policy: 4,
        };
        let author = author.then(|| IdKey::from_pem(AUTHOR_KEY).unwrap());
        let signed = block.sign(&IdKey::from_pem(ID_KEY).unwrap(), author.as_ref());
        (signed.block, *signed.auth)
    }

    #[test]
    fn what_we_sign_verifies() {
        let (block, auth) = signed_by(false);
        assert_eq!(verify_id(&block, &auth, false), Ok(()));
        let (block, auth) = signed_by(true);
        assert_eq!(verify_id(&block, &auth, false), Ok(()));
        assert_eq!(verify_id(&block, &auth, true), Ok(()));
    }

    #[test]
    fn every_change_is_found_and_named() {
        use IdFault::*;
        let (block, auth) = signed_by(true);
        let changed = |at: usize| {
            let mut auth = auth;
            auth[at] ^= 1;
            verify_id(&block, &auth, true).unwrap_err()
        };
        assert_eq!(changed(0), Algorithm { whose: "ID", found: 0 });
        assert_eq!(changed(4), Algorithm { whose: "author", found: 0 });
        assert_eq!(changed(at::ID_BLOCK_SIGNATURE), BlockSignature);
        assert_eq!(changed(at::ID_BLOCK_SIGNATURE + 60), BlockSignature, "bytes that must be 0");
        assert_eq!(changed(at::ID_KEY), Key { whose: "ID" }, "another curve");
        assert_eq!(changed(at::ID_KEY + 4), Key { whose: "ID" }, "no point of the curve");
        assert_eq!(changed(at::ID_KEY_SIGNATURE), KeySignature);
        assert_eq!(changed(at::AUTHOR_KEY + 4), Key { whose: "author" });
        // Bytes behind the coordinates are part of what the author signed.
        assert_eq!(changed(at::ID_KEY + 200), KeySignature);
        let mut other = block;
        other[48] ^= 1;
        assert_eq!(verify_id(&other, &auth, true), Err(BlockSignature));
        assert_eq!(verify_id(&block, &[0; ID_AUTH_LEN], false), Err(Algorithm { whose: "ID", found: 0 }));
    }
}
