//! Step 4: from the certificates that came along to a pinned root, by a fixed shape of three.

use sha2::{Digest, Sha256};

use super::roots::{PINNED, PinnedRoot};
use super::vek::Vek;
use super::{Product, Rejection, Report, SigningKey};
use crate::certs::{CertTable, Certificate, CertificateRole as Role, printable};
use crate::crypto::Signatures;

/// A chain whose signatures, names and product are good. Its time is not checked yet.
pub(super) struct Chain {
    pub(super) product: Product,
    pub(super) ark: Certificate,
    pub(super) ask: Certificate,
    pub(super) leaf: Certificate,
    pub(super) role: Role,
}

impl Chain {
    pub(super) fn vek(&self) -> Vek<'_> {
        Vek { certificate: &self.leaf, role: self.role }
    }
}

fn read(role: Role, der: &[u8]) -> Result<Certificate, Rejection> {
    Certificate::from_der(der).map_err(|source| Rejection::BadCertificate { role, source })
}

/// The kind of key that the report names, and the certificate for it.
fn leaf<'a>(report: &Report, certs: &'a CertTable) -> Result<(Role, &'a [u8]), Rejection> {
    let key_info = report.key_info();
    if key_info.chip_key_masked() {
        return Err(Rejection::MaskedChipKey);
    }
    let (wanted, here, found, other) = match key_info.signing_key() {
        Some(SigningKey::Vcek) => (Role::Vcek, &certs.vcek, Role::Vlek, &certs.vlek),
        Some(SigningKey::Vlek) => (Role::Vlek, &certs.vlek, Role::Vcek, &certs.vcek),
        None => return Err(Rejection::UnsupportedSigningKey { found: key_info.signing_key_bits() }),
    };
    match (here, other) {
        (Some(der), _) => Ok((wanted, der)),
        (None, Some(_)) => Err(Rejection::KeyTypeMismatch { found, wanted }),
        (None, None) => Err(Rejection::NoEndorsement { wanted }),
    }
}

/// The pinned intermediate for a kind of key.
fn pinned_ask(root: &PinnedRoot, role: Role) -> Option<&'static [u8]> {
    if role == Role::Vlek { root.asvk } else { Some(root.ask) }
}

/// The pinned root: the one that came along if it is pinned, else the one whose intermediate the leaf
/// names as its issuer. Signatures decide later; this only chooses what to check against.
fn pinned_root(certs: &CertTable, role: Role, leaf: &Certificate) -> Result<&'static PinnedRoot, Rejection> {
    if let Some(ark) = &certs.ark {
        let untrusted = || Rejection::UntrustedRoot { found: hex::encode(Sha256::digest(ark)) };
        return PINNED.iter().find(|root| root.ark == ark.as_slice()).ok_or_else(untrusted);
    }
    let is_issuer = |der| Certificate::from_der(der).is_ok_and(|ask| leaf.names_as_issuer(&ask));
    let named = PINNED.iter().find(|root| pinned_ask(root, role).is_some_and(is_issuer));
    named.ok_or_else(|| Rejection::UntrustedRoot {
        found: format!("none; the issuer is \"{}\"", leaf.issuer()),
    })
}

fn signed_by(
    (role, certificate): (Role, &Certificate),
    (issuer_role, issuer): (Role, &Certificate),
    signatures: &dyn Signatures,
) -> Result<(), Rejection> {
    let bad_issuer = |source| Rejection::BadCertificate { role: issuer_role, source };
    if !certificate.is_signed_by(issuer, signatures).map_err(bad_issuer)? {
        return Err(Rejection::ChainSignature { role, issuer: issuer_role });
    }
    if !issuer.is_ca() {
        return Err(Rejection::NotCa { role: issuer_role });
    }
    if !certificate.names_as_issuer(issuer) {
        return Err(Rejection::ChainName { role, found: certificate.issuer(), wanted: issuer.subject() });
    }
    Ok(())
}

/// Steps 3 and 4.
pub(super) fn establish(
    report: &Report,
    certs: &CertTable,
    signatures: &dyn Signatures,
) -> Result<Chain, Rejection> {
    let (role, leaf_der) = leaf(report, certs)?;
    let leaf = read(role, leaf_der)?;
    let root = pinned_root(certs, role, &leaf)?;
    let ark = read(Role::Ark, root.ark)?;

    let pinned = pinned_ask(root, role);
    let ask_der = certs.ask.as_deref().or(pinned).ok_or(Rejection::NoEndorsement { wanted: Role::Ask })?;
    let ask = read(Role::Ask, ask_der)?;
    // A pinned intermediate was verified by this crate's tests; another one may be newer than they.
    if Some(ask_der) != pinned {
        signed_by((Role::Ask, &ask), (Role::Ark, &ark), signatures)?;
    }
    signed_by((role, &leaf), (Role::Ask, &ask), signatures)?;
    check_intermediate(root, role, &ask)?;

    let chain = Chain { product: root.product, ark, ask, leaf, role };
    check_product(report, &chain)?;
    Ok(chain)
}

/// A chip key hangs below the ASK, a provider's below the ASVK, whatever else the ARK signs.
fn check_intermediate(root: &PinnedRoot, role: Role, ask: &Certificate) -> Result<(), Rejection> {
    let wanted = pinned_ask(root, role).ok_or(Rejection::NoEndorsement { wanted: Role::Ask })?;
    let wanted = read(Role::Ask, wanted)?;
    if ask.has_subject_of(&wanted) {
        return Ok(());
    }
    Err(Rejection::ChainName { role: Role::Ask, found: ask.subject(), wanted: wanted.subject() })
}

fn check_product(report: &Report, chain: &Chain) -> Result<(), Rejection> {
    let wanted = chain.product;
    match report.product() {
        Err(found) => return Err(Rejection::UnknownProduct { found }),
        Ok(Some(found)) if found != wanted => return Err(Rejection::ProductMismatch { found, wanted }),
        // Version 2 does not say: the chain does.
        Ok(_) => {}
    }
    let vek = chain.vek();
    let found = vek.product_name(wanted)?;
    if !wanted.is_named(&found) {
        return Err(Rejection::ProductNameMismatch { found: printable(&found), wanted });
    }
    match vek.looks_like() {
        Some(found) if found != chain.role => Err(Rejection::KeyTypeMismatch { found, wanted: chain.role }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::AwsLc;
    use crate::sim_pki;

    #[test]
    fn an_issuer_may_sign_certificates() {
        let leaf = Certificate::from_der(sim_pki::VCEK_DER).unwrap();
        let ask = Certificate::from_der(sim_pki::ASK_DER).unwrap();
        assert_eq!(signed_by((Role::Vcek, &leaf), (Role::Ask, &ask), &AwsLc), Ok(()));

        // The same key and name, but KeyUsage is cRLSign without keyCertSign.
        let mut der = sim_pki::ASK_DER.to_vec();
        let usage = b"\x55\x1d\x0f\x01\x01\xff\x04\x04\x03\x02\x01\x06";
        let at = der.windows(usage.len()).position(|window| window == usage).unwrap();
        der[at + usage.len() - 1] = 2;
        let no_ca = Certificate::from_der(&der).unwrap();
        let refused = signed_by((Role::Vcek, &leaf), (Role::Ask, &no_ca), &AwsLc);
        assert_eq!(refused, Err(Rejection::NotCa { role: Role::Ask }));
    }

    #[test]
    fn each_kind_of_key_has_its_intermediate() {
        for root in PINNED {
            let ask = Certificate::from_der(root.ask).unwrap();
            assert_eq!(check_intermediate(&root, Role::Vcek, &ask), Ok(()));
            assert!(check_intermediate(&root, Role::Vlek, &ask).is_err());
            if let Some(asvk) = root.asvk.map(|der| Certificate::from_der(der).unwrap()) {
                assert_eq!(check_intermediate(&root, Role::Vlek, &asvk), Ok(()));
                assert!(check_intermediate(&root, Role::Vcek, &asvk).is_err());
            }
        }
    }
}
