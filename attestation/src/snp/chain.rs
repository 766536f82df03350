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
