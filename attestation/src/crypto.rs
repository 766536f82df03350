//! The three signature checks that evidence needs, behind a trait, so that another library can take
//! over without a change to what is checked.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PSS_2048_8192_SHA384, UnparsedPublicKey,
    VerificationAlgorithm,
};

/// Signature verification. Every answer is yes or no: there is no error to mistake for a yes.
pub trait Signatures {
    /// ECDSA over P-384 with SHA-384. `key` is an uncompressed SEC1 point, `signature` r and s, big-endian.
    fn ecdsa_p384_sha384(&self, key: &[u8], message: &[u8], signature: &[u8; 96]) -> bool;
    /// ECDSA over P-256 with SHA-256, likewise.
    fn ecdsa_p256_sha256(&self, key: &[u8], message: &[u8], signature: &[u8; 64]) -> bool;
    /// RSASSA-PSS with SHA-384, MGF1-SHA-384 and a salt of 48 bytes. `key` is a DER RSAPublicKey.
    fn rsa_pss_sha384(&self, key: &[u8], message: &[u8], signature: &[u8]) -> bool;
}

/// [`Signatures`] through aws-lc-rs.
#[derive(Debug, Clone, Copy, Default)]
pub struct AwsLc;

impl AwsLc {
    fn check(
        algorithm: &'static dyn VerificationAlgorithm,
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
    }
}

impl Signatures for AwsLc {
    fn ecdsa_p384_sha384(&self, key: &[u8], message: &[u8], signature: &[u8; 96]) -> bool {
        Self::check(&ECDSA_P384_SHA384_FIXED, key, message, signature)
    }

    fn ecdsa_p256_sha256(&self, key: &[u8], message: &[u8], signature: &[u8; 64]) -> bool {
        Self::check(&ECDSA_P256_SHA256_FIXED, key, message, signature)
    }

    fn rsa_pss_sha384(&self, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        Self::check(&RSA_PSS_2048_8192_SHA384, key, message, signature)
    }
}
