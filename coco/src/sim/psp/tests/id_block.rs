//! ID blocks at LAUNCH_FINISH: made by the code that makes real ones, checked by the simulated firmware.

use cloister_firmware::identity::{IdBlock, IdKey};
use cloister_firmware::measure::Digest384;
use sha2::{Digest, Sha384};

use super::{Bench, EINVAL, POLICY, Refused, bench, by_firmware};
use crate::snp::abi::FirmwareCode;

fn key(seed: u8) -> IdKey {
    use p384::pkcs8::{EncodePrivateKey, LineEnding};
    let secret = p384::SecretKey::from_slice(&[seed; 48]).unwrap();
    IdKey::from_pem(&secret.to_pkcs8_pem(LineEnding::LF).unwrap()).unwrap()
}

/// What the guest of [`id_guest`] measures to.
fn id_digest() -> [u8; 48] {
    let b = bench().started();
    b.finish(|_| ()).unwrap();
    b.psp.digest()
}

fn id_block() -> IdBlock {
    IdBlock {
        digest: Digest384(id_digest()),
        family_id: *b"the cloister fam",
        image_id: *b"the cloister img",
        guest_svn: 9,
        policy: POLICY,
    }
}

/// Launches a guest with an ID block that `edit` changes.
fn id_guest(
    block: &IdBlock,
    author: Option<&IdKey>,
    edit: impl FnOnce(&mut [u8; 96], &mut [u8; 4096]),
) -> (Bench, Result<(), Refused>) {
    let signed = block.sign(&key(1), author);
    let mut block = signed.block;
    let mut auth = Box::new(*signed.auth);
    edit(&mut block, &mut auth);
    let b = bench().started();
    let result = b.finish(|f| {
        f.id_block_en = 1;
        f.auth_key_en = u8::from(author.is_some());
        f.id_block_uaddr = block.as_ptr() as u64;
        f.id_auth_uaddr = auth.as_ptr() as u64;
    });
    (b, result)
}

#[test]
fn an_id_block_that_fits_is_in_the_report() {
    for author in [None, Some(key(2))] {
        let (b, result) = id_guest(&id_block(), author.as_ref(), |_, _| ());
        assert_eq!(result, Ok(()));
        let r = b.psp.report(&[0; 64]).unwrap();
        assert_eq!(r[0x004..0x008], 9u32.to_le_bytes());
        assert_eq!(r[0x010..0x030], *b"the cloister famthe cloister img");
        assert_eq!(r[0x048..0x04c], u32::from(author.is_some()).to_le_bytes());
        assert_eq!(r[0x0e0..0x110], Sha384::digest(key(1).public())[..]);
        let author_digest = author.map_or([0; 48], |a| Sha384::digest(a.public()).into());
        assert_eq!(r[0x110..0x140], author_digest);
    }
}

#[test]
fn an_id_block_that_does_not_fit_ends_the_launch() {
    let refused =
        |code, block: &IdBlock, author: Option<&IdKey>, edit: fn(&mut [u8; 96], &mut [u8; 4096])| {
            let (b, result) = id_guest(block, author, edit);
            assert_eq!(result, by_firmware(code));
            assert!(!b.psp.running() && b.psp.report(&[0; 64]).is_none());
            assert_eq!(b.finish(|_| ()), EINVAL, "its vCPUs are protected already");
            assert!(!b.psp.running());
        };
    let good = id_block();
    let author = key(2);
    let signature = FirmwareCode::BAD_SIGNATURE;
    refused(signature, &good, None, |block, _| block[48] ^= 1); // the family
    refused(signature, &good, None, |_, auth| auth[64] ^= 1);
    refused(signature, &good, None, |_, auth| auth[64 + 60] = 1); // r is larger than P-384
    refused(signature, &good, None, |_, auth| auth[580] ^= 1); // the key
    refused(signature, &good, None, |_, auth| auth[576] = 1); // another curve
    refused(signature, &good, Some(&author), |_, auth| auth[1664] ^= 1);
    refused(signature, &good, Some(&author), |_, auth| auth[2180] ^= 1);
    refused(FirmwareCode::INVALID_PARAM, &good, None, |block, _| block[80] = 2);
    refused(FirmwareCode::INVALID_PARAM, &good, None, |_, auth| auth[0] = 2);
    refused(FirmwareCode::INVALID_PARAM, &good, Some(&author), |_, auth| auth[4] = 0);
    // The digest is looked at before the signature.
    refused(FirmwareCode::BAD_MEASUREMENT, &good, None, |block, _| block[0] ^= 1);
    let other = IdBlock { digest: Digest384([1; 48]), ..good };
    refused(FirmwareCode::BAD_MEASUREMENT, &other, None, |_, _| ());
    let other = IdBlock { policy: POLICY | 1 << 19, ..good };
    refused(FirmwareCode::POLICY_FAILURE, &other, None, |_, _| ());

    let b = bench().started();
    assert_eq!(b.finish(|f| f.id_block_en = 1), EINVAL, "no address");
    assert_eq!(b.finish(|_| ()), EINVAL);
}
