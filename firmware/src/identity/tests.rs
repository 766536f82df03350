use p384::ecdsa::signature::Verifier;
use p384::ecdsa::{Signature, VerifyingKey};

use super::*;

/// Published test keys of virtee/sev (Apache-2.0), commit 9cf2adb, `tests/measurement/test_id_key.pem` and
/// `test_auth_key.pem`. They protect nothing.
pub(super) const ID_KEY: &str = "-----BEGIN PRIVATE KEY-----
MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDDPZQkU2FP1ii90R+e7
/ShQ/rzUzsS8X7kVJ0nJAxcrS1oMD8nKjfsKKfBWJ8nbCyqhZANiAAT2dj5NJgnP
GyzyLyzIuMpM9V1HDDwjVSyTsWiHQ5Ddlcs/3uhH3fef8p77uIA8bR/M16jQR7nN
wcdQsRkKvm0drTeo3ssUMnt2Zhn3EmB8/Q04hTxQ2pvNCAs1OJyTvj4=
-----END PRIVATE KEY-----
";
pub(super) const AUTHOR_KEY: &str = "-----BEGIN PRIVATE KEY-----
MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDAyp3rzsOsAMVIVbtmS
QEU83YC5r0EOWZfSX3wwiBQytEjoVsXDBPTpvvyzM2aZ27ChZANiAARicMeL1pBM
0TNimaJbmHNqcc6S/vB0lNcssosHPIMPn1ZK96XBxv/Fo0lz1dpFhoyGPHkwosmE
SKd6EAiBAuKpX5MIzT5WtVm3/TrMiLPMKhl3Q0j+ovLJAxGR4HGHrPU=
-----END PRIVATE KEY-----
";
/// A published test key of virtee/sev-snp-measure (Apache-2.0), commit 8f2b337,
/// `tests/keyfile/id_key_test.pem`, and its digest from `tests/test_id_block.py`.
const SEC1_KEY: &str = "-----BEGIN EC PRIVATE KEY-----
MIGkAgEBBDDd3NjrPduToA3Y2bU8u+m+wL+icE6wZOiAm5FopHJjHx2a67ZcqhcX
mB/DBwn4WsKgBwYFK4EEACKhZANiAASyD9Ghwr0rZRg6duI5CsgF9tjl4q9yXlqO
k8+H7AKfnUXrMmsEuSvrcU4U+phviposlKC4qzDMdjUmdZRIdokelU/271gmpiMb
ptbX9uv7aM4zDh5ZOU77cICIPdxpNks=
-----END EC PRIVATE KEY-----
";
const SEC1_DIGEST: &str =
    "870b7e35c53f8a72d0d322f75ab2af8262792aaf6579622ce4131c3f21f289e77cb0560a5e3b90b3932e674ec709cb14";

fn block() -> IdBlock {
    let digest =
        "a14d638341e5674628fe1e02fbedebe5e5ab4faf1dd72d8966068e615bb99efd13d214b35c231715b38e263dc6059745";
    IdBlock {
        digest: Digest384(hex::decode(digest).unwrap().try_into().unwrap()),
        family_id: [0; 16],
        image_id: [0; 16],
        guest_svn: 0,
        policy: 0x30000,
    }
}

/// Block and key digests as virtee/sev publishes them (`tests/id-block.rs`).
#[test]
fn block_and_digests_match_the_published_ones() {
    let (id, author) = (IdKey::from_pem(ID_KEY).unwrap(), IdKey::from_pem(AUTHOR_KEY).unwrap());
    let signed = block().sign(&id, Some(&author));
    let want = "a14d638341e5674628fe1e02fbedebe5e5ab4faf1dd72d8966068e615bb99efd13d214b35c231715b38e263dc6059745\
                0000000000000000000000000000000000000000000000000000000000000000\
                01000000000000000000030000000000";
    assert_eq!(hex::encode(signed.block), want);
    assert_eq!(
        signed.id_key_digest.to_string(),
        "59fb2c686dfa4fef49f38339aa775c90051c28d57383ddc3baf3b5eb4b1496df3b0dbbdcbae5fe27677a644820773fe2"
    );
    assert_eq!(
        signed.author_key_digest.unwrap().to_string(),
        "eed81169fb0cb5e0ec34794f128fd4e0c4a46f67c65a1adfa81fcb24bcc088c272369b7ffc3eb2b6af6a4284a1b36c5f"
    );
}

fn verify(key: &[u8], signature: &[u8], message: &[u8]) {
    let number = |bytes: &[u8], at: usize| -> Vec<u8> { bytes[at..at + 48].iter().rev().copied().collect() };
    let point = [vec![4], number(key, 4), number(key, 76)].concat();
    let signature = [number(signature, 0), number(signature, 72)].concat();
    VerifyingKey::from_sec1_bytes(&point)
        .unwrap()
        .verify(message, &Signature::from_slice(&signature).unwrap())
        .unwrap();
}

#[test]
fn signatures_verify_from_the_page_alone() {
    let (id, author) = (IdKey::from_pem(ID_KEY).unwrap(), IdKey::from_pem(SEC1_KEY).unwrap());
    let signed = IdBlock { guest_svn: 7, family_id: [1; 16], ..block() }.sign(&id, Some(&author));
    let page = &signed.auth[..];
    assert_eq!(page[..8], [1, 0, 0, 0, 1, 0, 0, 0]);
    let (id_key, author_key) = (&page[576..576 + 1028], &page[2176..2176 + 1028]);
    assert_eq!((&id_key[..4], &id_key[4 + 48..4 + 72]), (&[2, 0, 0, 0][..], &[0; 24][..]));
    verify(id_key, &page[64..64 + 512], &signed.block);
    verify(author_key, &page[1664..1664 + 512], id_key);
    for zero in [8..64, 64 + 144..576, 576 + 148..1664, 1664 + 144..2176, 2176 + 148..4096] {
        assert!(page[zero.clone()].iter().all(|&b| b == 0), "{zero:?}");
    }
}

#[test]
fn without_an_author_his_fields_are_zero() {
    let signed = block().sign(&IdKey::from_pem(SEC1_KEY).unwrap(), None);
    assert_eq!(signed.auth[4..8], [0; 4]);
    assert!(signed.auth[1664..].iter().all(|&b| b == 0));
    assert_eq!(signed.author_key_digest, None);
    assert_eq!(signed.id_key_digest.to_string(), SEC1_DIGEST);
}

#[test]
fn keys_are_found_behind_curve_parameters_and_strangers_refused() {
    let parameters = "-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n";
    let key = IdKey::from_pem(&format!("{parameters}{SEC1_KEY}")).unwrap();
    assert_eq!(key.digest().to_string(), SEC1_DIGEST);
    assert!(!format!("{key:?}").contains("Secret"));
    assert!(matches!(IdKey::from_pem(parameters), Err(IdKeyError::NotPem)));
    let encrypted = ID_KEY.replace("PRIVATE", "ENCRYPTED PRIVATE");
    assert!(matches!(IdKey::from_pem(&encrypted), Err(IdKeyError::Encrypted)));
    let broken = ID_KEY.replace("MIG2", "MIG3");
    assert!(matches!(IdKey::from_pem(&broken), Err(IdKeyError::NotP384)));
    let p256 = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQggUgBaHThlDGXo80G\nWKjU06Yf1LnNUCNTDFef1Dt0SGqhRANCAASd9BGwAf/MEhUf0DTrDVhOeazniuRt\nN89Fo6KuOaAGtbYXBIS1dcgACRJSeuEcDnzBvmwka0E+d+GHIkIOIxz5\n-----END PRIVATE KEY-----\n";
    assert!(matches!(IdKey::from_pem(p256), Err(IdKeyError::NotP384)));
}

#[test]
fn a_block_says_what_went_into_it() {
    let block = IdBlock {
        digest: Digest384([9; 48]),
        family_id: [1; 16],
        image_id: [2; 16],
        guest_svn: 7,
        policy: 0xb0000,
    };
    assert_eq!(IdBlock::parse(&block.bytes()), Ok(block));
    let mut other = block.bytes();
    other[80] = 2;
    assert_eq!(IdBlock::parse(&other), Err(2));
    let (id, author) = (IdKey::from_pem(ID_KEY).unwrap(), IdKey::from_pem(SEC1_KEY).unwrap());
    assert!(IdBlock::has_author(&block.sign(&id, Some(&author)).auth));
    assert!(!IdBlock::has_author(&block.sign(&id, None).auth));
}
