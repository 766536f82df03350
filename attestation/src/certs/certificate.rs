//! One certificate: read once, with its signed bytes kept as they came.

use std::fmt;

use der::asn1::{BitStringRef, ObjectIdentifier};
use der::{Decode, Reader, SliceReader};
use snafu::{OptionExt, ResultExt, Snafu, ensure};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

use super::printable;
use crate::crypto::Signatures;
use crate::time::UnixTime;

/// Largest certificate that is read, DER. AMD's have about 1.7 KiB.
pub(super) const MAX_CERTIFICATE: usize = 8 << 10;

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// RSASSA-PSS with SHA-384, MGF1-SHA-384, salt 48: AlgorithmIdentifier, DER. AMD's certificates come in
/// two spellings; the older one writes out trailerField 1, though it is the default.
const PSS_SHA384: [&[u8]; 2] = [
    b"\x30\x41\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x34\xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\
      \x01\x65\x03\x04\x02\x02\x05\x00\xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\x30\
      \x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\xa2\x03\x02\x01\x30",
    b"\x30\x46\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x39\xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\
      \x01\x65\x03\x04\x02\x02\x05\x00\xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\x30\
      \x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\xa2\x03\x02\x01\x30\xa3\x03\x02\x01\x01",
];

/// A certificate's place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateRole {
    /// The root.
    Ark,
    /// The intermediate: ASK, or ASVK for provider-loaded keys.
    Ask,
    /// The chip's own key.
    Vcek,
    /// A key that the cloud provider loaded.
    Vlek,
    /// The root's revocation list.
    Crl,
}

impl fmt::Display for CertificateRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ark => "ARK",
            Self::Ask => "ASK",
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
            Self::Crl => "CRL",
        })
    }
}

/// Why a certificate cannot be used at all.
#[derive(Debug, Clone, PartialEq, Eq, Snafu)]
#[non_exhaustive]
pub enum CertError {
    /// Longer than any certificate of this kind.
    #[snafu(display("it has {len} bytes, more than the {MAX_CERTIFICATE} that are read"))]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// Not a DER certificate.
    #[snafu(display("it is not a DER certificate: {source}"))]
    NotDer {
        /// Where DER decoding failed.
        source: der::Error,
    },
    /// Another signature algorithm than RSASSA-PSS with SHA-384.
    #[snafu(display("it is not signed with RSASSA-PSS, SHA-384, salt 48"))]
    SignatureAlgorithm,
    /// Not the kind of key that belongs into this place.
    #[snafu(display("its public key is not of the kind that AMD uses there"))]
    KeyKind,
    /// A critical extension that this verifier does not know.
    #[snafu(display("it has the critical extension {oid}, which is not known"))]
    CriticalExtension {
        /// The extension.
        oid: ObjectIdentifier,
    },
    /// An extension is there twice.
    #[snafu(display("it has the extension {oid} twice"))]
    DuplicateExtension {
        /// The extension.
        oid: ObjectIdentifier,
    },
}

/// The parts of a signed structure, as they came.
pub(super) struct SignedParts<'a> {
    pub(super) signed: &'a [u8],
    pub(super) algorithm: &'a [u8],
    pub(super) signature: &'a [u8],
}

/// Splits SEQUENCE { to-be-signed, algorithm, BIT STRING } without decoding the first two.
pub(super) fn signed_parts(bytes: &[u8]) -> Result<SignedParts<'_>, der::Error> {
    let mut reader = SliceReader::new(bytes)?;
    let parts = reader.sequence(|r| -> Result<_, der::Error> {
        let (signed, algorithm) = (r.tlv_bytes()?, r.tlv_bytes()?);
        let signature = BitStringRef::decode(r)?.as_bytes().unwrap_or_default();
        Ok(SignedParts { signed, algorithm, signature })
    })?;
    reader.finish()?;
    Ok(parts)
}

pub(super) fn is_pss_sha384(algorithm: &[u8]) -> bool {
    PSS_SHA384.contains(&algorithm)
}

/// A certificate in the form that AMD uses.
#[derive(Debug, Clone)]
pub struct Certificate {
    der: Vec<u8>,
    signed: Vec<u8>,
    signature: Vec<u8>,
    parsed: x509_cert::Certificate,
}

impl Certificate {
    /// Reads a certificate from DER.
    pub fn from_der(bytes: &[u8]) -> Result<Self, CertError> {
        ensure!(bytes.len() <= MAX_CERTIFICATE, TooLongSnafu { len: bytes.len() });
        let parts = signed_parts(bytes).context(NotDerSnafu)?;
        let parsed = x509_cert::Certificate::from_der(bytes).context(NotDerSnafu)?;
        // The algorithm is written twice, inside and outside of what is signed; they must agree.
        let inner = parsed.tbs_certificate().signature() == parsed.signature_algorithm();
        ensure!(inner && is_pss_sha384(parts.algorithm), SignatureAlgorithmSnafu);
        let (signed, signature) = (parts.signed.to_vec(), parts.signature.to_vec());
        let certificate = Self { der: bytes.to_vec(), signed, signature, parsed };
        certificate.check_extensions()?;
        Ok(certificate)
    }

    fn check_extensions(&self) -> Result<(), CertError> {
        use x509_cert::der::oid::AssociatedOid;
        let known = [BasicConstraints::OID, KeyUsage::OID];
        let extensions = self.parsed.tbs_certificate().extensions().map_or(&[][..], Vec::as_slice);
        for (i, extension) in extensions.iter().enumerate() {
            let oid = extension.extn_id;
            ensure!(!extension.critical || known.contains(&oid), CriticalExtensionSnafu { oid });
            ensure!(extensions.iter().take(i).all(|e| e.extn_id != oid), DuplicateExtensionSnafu { oid });
        }
        Ok(())
    }

    /// The bytes as they came.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The DER RSAPublicKey of an ARK or ASK; 4096 bits.
    pub fn rsa_key(&self) -> Result<&[u8], CertError> {
        let info = self.parsed.tbs_certificate().subject_public_key_info();
        let key = info.subject_public_key.as_bytes().context(KeyKindSnafu)?;
        // A 4096-bit modulus with a small exponent: SEQUENCE 4 + INTEGER 4 + 513 + INTEGER 5.
        let is_4096 = key.starts_with(b"\x30\x82\x02\x0a\x02\x82\x02\x01\x00");
        ensure!(info.algorithm.oid == RSA_ENCRYPTION && is_4096 && key.len() == 526, KeyKindSnafu);
        Ok(key)
    }

    /// The uncompressed P-384 point of a VCEK or VLEK.
    pub fn p384_key(&self) -> Result<&[u8], CertError> {
        let info = self.parsed.tbs_certificate().subject_public_key_info();
        let curve = info.algorithm.parameters.as_ref().and_then(|p| p.decode_as::<ObjectIdentifier>().ok());
        let key = info.subject_public_key.as_bytes().context(KeyKindSnafu)?;
        let shape = key.len() == 97 && key.first() == Some(&4);
        ensure!(info.algorithm.oid == EC_PUBLIC_KEY && curve == Some(SECP384R1) && shape, KeyKindSnafu);
        Ok(key)
    }

    /// Whether `issuer`'s key made this certificate's signature.
    pub fn is_signed_by(&self, issuer: &Self, signatures: &dyn Signatures) -> Result<bool, CertError> {
        Ok(signatures.rsa_pss_sha384(issuer.rsa_key()?, &self.signed, &self.signature))
    }

    /// Whether the issuer's name here is the subject's name there.
    pub fn names_as_issuer(&self, issuer: &Self) -> bool {
        self.parsed.tbs_certificate().issuer() == issuer.parsed.tbs_certificate().subject()
    }

    /// Whether it may sign certificates: BasicConstraints CA, and KeyUsage keyCertSign.
    pub fn is_ca(&self) -> bool {
        let tbs = self.parsed.tbs_certificate();
        let ca = matches!(tbs.get_extension::<BasicConstraints>(), Ok(Some((_, c))) if c.ca);
        let usage = matches!(tbs.get_extension::<KeyUsage>(), Ok(Some((_, u))) if u.key_cert_sign());
        ca && usage
    }

    /// Whether both certificates have the same subject's name.
    pub fn has_subject_of(&self, other: &Self) -> bool {
        self.parsed.tbs_certificate().subject() == other.parsed.tbs_certificate().subject()
    }

    /// The subject's name, for messages.
    pub fn subject(&self) -> String {
        printable(&self.parsed.tbs_certificate().subject().to_string())
    }

    /// The issuer's name, for messages.
    pub fn issuer(&self) -> String {
        printable(&self.parsed.tbs_certificate().issuer().to_string())
    }

    pub(super) fn parsed(&self) -> &x509_cert::Certificate {
        &self.parsed
    }

    /// First and last second of validity.
    pub fn validity(&self) -> (UnixTime, UnixTime) {
        let validity = self.parsed.tbs_certificate().validity();
        let seconds = |time: &x509_cert::time::Time| UnixTime(time.to_unix_duration().as_secs());
        (seconds(&validity.not_before), seconds(&validity.not_after))
    }

    /// The value of an extension, as bytes.
    pub fn extension(&self, oid: ObjectIdentifier) -> Option<&[u8]> {
        let extensions = self.parsed.tbs_certificate().extensions()?;
        extensions.iter().find(|e| e.extn_id == oid).map(|e| e.extn_value.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::AwsLc;
    use crate::sim_pki;
    use proptest::prelude::*;

    #[test]
    fn the_simulators_chain_holds_together() {
        let [ark, ask, vcek] = [sim_pki::ARK_DER, sim_pki::ASK_DER, sim_pki::VCEK_DER]
            .map(|der| Certificate::from_der(der).unwrap());
        assert_eq!(ark.is_signed_by(&ark, &AwsLc), Ok(true));
        assert_eq!(ask.is_signed_by(&ark, &AwsLc), Ok(true));
        assert_eq!(vcek.is_signed_by(&ask, &AwsLc), Ok(true));
        assert_eq!(vcek.is_signed_by(&ark, &AwsLc), Ok(false));
        assert!(ark.is_ca() && ask.is_ca() && !vcek.is_ca());
        assert!(ask.names_as_issuer(&ark) && vcek.names_as_issuer(&ask) && !vcek.names_as_issuer(&ark));
        assert!(vcek.p384_key().is_ok() && vcek.rsa_key().is_err() && ark.p384_key().is_err());
        assert!(ark.subject().contains("CN=ARK-CLOISTER-SIMULATED-NOT-HARDWARE"), "{}", ark.subject());
    }

    #[test]
    fn the_encoding_of_the_algorithm_is_one_of_two() {
        for algorithm in PSS_SHA384 {
            assert_eq!(usize::from(algorithm[1]) + 2, algorithm.len());
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Certificate::from_der(&bytes);
        }

        #[test]
        fn a_damaged_certificate_is_refused_or_fails_its_signature(at: prop::sample::Index, mask in 1u8..) {
            let ask = Certificate::from_der(sim_pki::ASK_DER).unwrap();
            let mut damaged = sim_pki::VCEK_DER.to_vec();
            let at = at.index(damaged.len());
            damaged[at] ^= mask;
            if let Ok(certificate) = Certificate::from_der(&damaged) {
                let _ = (certificate.validity(), certificate.subject(), certificate.p384_key());
                prop_assert_eq!(certificate.is_signed_by(&ask, &AwsLc), Ok(false));
            }
        }

        #[test]
        fn a_cut_certificate_is_refused(len in 0..sim_pki::VCEK_DER.len()) {
            prop_assert!(Certificate::from_der(&sim_pki::VCEK_DER[..len]).is_err());
        }
    }
}
