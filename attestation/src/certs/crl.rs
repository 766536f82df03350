//! The root's revocation list. It can only take out an ASK: every chip key has serial number 0.

use der::Decode;
use snafu::{ResultExt, Snafu, ensure};
use x509_cert::crl::CertificateList;

use super::certificate::{Certificate, is_pss_sha384, signed_parts};
use crate::crypto::Signatures;
use crate::time::UnixTime;

/// Largest list that is read.
const MAX_CRL: usize = 32 << 10;

/// Why a revocation list cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Snafu)]
#[non_exhaustive]
pub enum CrlError {
    /// Longer than what is read.
    #[snafu(display("it has {len} bytes, more than the {MAX_CRL} that are read"))]
    CrlTooLong {
        /// Its length.
        len: usize,
    },
    /// Not a DER revocation list.
    #[snafu(display("it is not a DER revocation list: {source}"))]
    CrlNotDer {
        /// Where DER decoding failed.
        source: der::Error,
    },
    /// Another signature algorithm than RSASSA-PSS with SHA-384.
    #[snafu(display("it is not signed with RSASSA-PSS, SHA-384, salt 48"))]
    CrlAlgorithm,
    /// No nextUpdate: it would never go out of date.
    #[snafu(display("it does not say when it goes out of date"))]
    CrlEndless,
}

/// A revocation list.
#[derive(Debug, Clone)]
pub struct Crl {
    signed: Vec<u8>,
    signature: Vec<u8>,
    parsed: CertificateList,
    next_update: UnixTime,
}

impl Crl {
    /// Reads a list from DER.
    pub fn from_der(bytes: &[u8]) -> Result<Self, CrlError> {
        ensure!(bytes.len() <= MAX_CRL, CrlTooLongSnafu { len: bytes.len() });
        let parts = signed_parts(bytes).context(CrlNotDerSnafu)?;
        let parsed = CertificateList::from_der(bytes).context(CrlNotDerSnafu)?;
        let inner = parsed.tbs_cert_list.signature == parsed.signature_algorithm;
        ensure!(inner && is_pss_sha384(parts.algorithm), CrlAlgorithmSnafu);
        let Some(next) = parsed.tbs_cert_list.next_update else { return CrlEndlessSnafu.fail() };
        Ok(Self {
            signed: parts.signed.to_vec(),
            signature: parts.signature.to_vec(),
            next_update: UnixTime(next.to_unix_duration().as_secs()),
            parsed,
        })
    }

    /// Whether `issuer` made this list.
    pub fn is_signed_by(&self, issuer: &Certificate, signatures: &dyn Signatures) -> bool {
        self.parsed.tbs_cert_list.issuer == *issuer.parsed().tbs_certificate().subject()
            && issuer.rsa_key().is_ok_and(|key| signatures.rsa_pss_sha384(key, &self.signed, &self.signature))
    }

    /// From when to when it is current.
    pub fn validity(&self) -> (UnixTime, UnixTime) {
        let from = self.parsed.tbs_cert_list.this_update.to_unix_duration().as_secs();
        (UnixTime(from), self.next_update)
    }

    /// Whether it lists `certificate`'s serial number.
    pub fn revokes(&self, certificate: &Certificate) -> bool {
        let serial = certificate.parsed().tbs_certificate().serial_number();
        let revoked = self.parsed.tbs_cert_list.revoked_certificates.as_deref().unwrap_or_default();
        revoked.iter().any(|entry| entry.serial_number == *serial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::AwsLc;
    use crate::sim_pki;
    use proptest::prelude::*;

    const EMPTY: &[u8] = include_bytes!("../../sim-pki/crl-empty.der");
    const REVOKED: &[u8] = include_bytes!("../../sim-pki/crl-ask-revoked.der");

    #[test]
    fn a_list_names_serials_and_its_signer() {
        let [ark, ask] = [sim_pki::ARK_DER, sim_pki::ASK_DER].map(|der| Certificate::from_der(der).unwrap());
        let (empty, revoked) = (Crl::from_der(EMPTY).unwrap(), Crl::from_der(REVOKED).unwrap());
        assert!(empty.is_signed_by(&ark, &AwsLc) && revoked.is_signed_by(&ark, &AwsLc));
        assert!(!empty.is_signed_by(&ask, &AwsLc));
        assert!(!empty.revokes(&ask) && revoked.revokes(&ask) && !revoked.revokes(&ark));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes: Vec<u8>, at: prop::sample::Index, mask in 1u8..) {
            let _ = Crl::from_der(&bytes);
            let mut damaged = REVOKED.to_vec();
            let at = at.index(damaged.len());
            damaged[at] ^= mask;
            let ark = Certificate::from_der(sim_pki::ARK_DER).unwrap();
            if let Ok(crl) = Crl::from_der(&damaged) {
                prop_assert!(!crl.is_signed_by(&ark, &AwsLc));
            }
        }
    }
}
