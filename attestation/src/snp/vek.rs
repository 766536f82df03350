//! AMD's extensions of a VCEK or VLEK certificate (AMD 57230, "VCEK Certificate and KDS Interface
//! Specification"), under 1.3.6.1.4.1.3704.1.

use der::Decode;
use der::asn1::{Ia5StringRef, ObjectIdentifier};

use super::{Component, Product, Rejection, Tcb};
use crate::certs::{Certificate, CertificateRole as Role};

const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

const STRUCT_VERSION: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.1");
const PRODUCT_NAME: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.2");
const BL_SPL: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.1");
const TEE_SPL: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.2");
const SNP_SPL: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.3");
const SPL4: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.4");
const SPL5: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.5");
const SPL6: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.6");
const SPL7: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.7");
const UCODE_SPL: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.8");
const FMC_SPL: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.9");
const HW_ID: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.4");
const CSP_ID: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.5");

/// The leaf certificate with its place in the chain known.
pub(super) struct Vek<'a> {
    pub(super) certificate: &'a Certificate,
    pub(super) role: Role,
}

impl Vek<'_> {
    fn bad(&self, name: &'static str) -> Rejection {
        Rejection::BadExtension { role: self.role, name }
    }

    fn integer(&self, oid: ObjectIdentifier, name: &'static str) -> Result<Option<u8>, Rejection> {
        let value = self.certificate.extension(oid);
        value.map(|value| u8::from_der(value).map_err(|_| self.bad(name))).transpose()
    }

    /// productName1, and a structVersion that fits the product.
    pub(super) fn product_name(&self, product: Product) -> Result<String, Rejection> {
        let version = self.integer(STRUCT_VERSION, "structVersion")?;
        if version != Some(product.struct_version()) {
            return Err(self.bad("structVersion"));
        }
        self.text(PRODUCT_NAME, "productName1")?.ok_or_else(|| self.bad("productName1"))
    }

    fn text(&self, oid: ObjectIdentifier, name: &'static str) -> Result<Option<String>, Rejection> {
        let Some(value) = self.certificate.extension(oid) else { return Ok(None) };
        let text = Ia5StringRef::from_der(value).map_err(|_| self.bad(name))?;
        Ok(Some(text.as_str().to_owned()))
    }

    /// The TCB that this key was derived for. The extensions must be the product's, no more, no fewer.
    pub(super) fn tcb(&self, product: Product) -> Result<Tcb, Rejection> {
        let must = |oid, name| self.integer(oid, name)?.ok_or_else(|| self.bad(name));
        let may = |oid, name| Ok(self.integer(oid, name)?.unwrap_or(0));
        let (bl, tee) = (must(BL_SPL, "blSPL")?, must(TEE_SPL, "teeSPL")?);
        let (snp, ucode) = (must(SNP_SPL, "snpSPL")?, must(UCODE_SPL, "ucodeSPL")?);
        let fmc = self.integer(FMC_SPL, "fmcSPL")?;
        let spl4 = self.integer(SPL4, "spl4")?;
        let (spl5, spl6, spl7) = (may(SPL5, "spl5")?, may(SPL6, "spl6")?, may(SPL7, "spl7")?);
        match (product, fmc, spl4) {
            (Product::Turin, Some(fmc), None) => Ok(Tcb([fmc, bl, tee, snp, spl5, spl6, spl7, ucode])),
            (Product::Turin, _, Some(_)) => Err(self.bad("spl4")),
            (Product::Turin, None, None) => Err(self.bad("fmcSPL")),
            (_, Some(_), _) => Err(self.bad("fmcSPL")),
            (_, None, spl4) => Ok(Tcb([bl, tee, spl4.unwrap_or(0), spl5, spl6, spl7, snp, ucode])),
        }
    }

    /// hwID as it would be in CHIP_ID. Genuine certificates have the bytes raw, some test ones wrap
    /// them in an OCTET STRING.
    pub(super) fn chip_id(&self, product: Product) -> Result<[u8; 64], Rejection> {
        let value = self.certificate.extension(HW_ID).ok_or_else(|| self.bad("hwID"))?;
        let len = product.chip_id_len();
        let raw = match value {
            [4, inner_len, inner @ ..] if value.len() != len && usize::from(*inner_len) == inner.len() => {
                inner
            }
            raw => raw,
        };
        if raw.len() != len {
            return Err(self.bad("hwID"));
        }
        let mut chip_id = [0; 64];
        chip_id.iter_mut().zip(raw).for_each(|(to, from)| *to = *from);
        Ok(chip_id)
    }

    /// cspID of a VLEK: which provider loaded it.
    pub(super) fn csp_id(&self) -> Result<String, Rejection> {
        self.text(CSP_ID, "cspID")?.ok_or_else(|| self.bad("cspID"))
    }

    /// Whether the extensions are those of the role: a chip has a hwID, a provider a cspID.
    pub(super) fn looks_like(&self) -> Option<Role> {
        match (self.certificate.extension(HW_ID), self.certificate.extension(CSP_ID)) {
            (Some(_), None) => Some(Role::Vcek),
            (None, Some(_)) => Some(Role::Vlek),
            _ => None,
        }
    }

    /// The first component in which `reported` differs from the certificate's.
    pub(super) fn tcb_mismatch(
        &self,
        product: Product,
        reported: Tcb,
    ) -> Result<Option<Rejection>, Rejection> {
        let wanted = self.tcb(product)?.components(product);
        let found = reported.components(product);
        let differs = |((component, found), (_, wanted)): ((Component, u8), (Component, u8))| {
            (found != wanted).then_some(Rejection::TcbMismatch { component, found, wanted })
        };
        Ok(found.into_iter().zip(wanted).find_map(differs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim_pki;

    fn vek(certificate: &Certificate) -> Vek<'_> {
        Vek { certificate, role: Role::Vcek }
    }

    #[test]
    fn both_encodings_of_hw_id_are_read() {
        let [raw, wrapped] = [
            &include_bytes!("../../tests/vectors/_certs/vcek-hwid-raw-legacy.der")[..],
            include_bytes!("../../tests/vectors/_certs/vcek-hwid-octetstring-new.der"),
        ]
        .map(|der| vek(&Certificate::from_der(der).unwrap()).chip_id(Product::Milan).unwrap());
        assert_eq!(raw, wrapped);
        assert_eq!(raw[..3], [0, 1, 2]);
    }

    #[test]
    fn the_simulators_key_says_what_its_constants_say() {
        let certificate = Certificate::from_der(sim_pki::VCEK_DER).unwrap();
        let vek = vek(&certificate);
        let sim = Product::Simulated;
        assert_eq!(vek.product_name(sim).unwrap(), sim_pki::PRODUCT_NAME);
        assert_eq!(vek.tcb(sim).unwrap(), Tcb(sim_pki::TCB));
        assert_eq!(vek.chip_id(sim).unwrap(), sim_pki::CHIP_ID);
        assert_eq!(vek.looks_like(), Some(Role::Vcek));
        assert!(vek.csp_id().is_err());
    }

    #[test]
    fn a_products_extensions_are_exact() {
        let turin =
            Certificate::from_der(include_bytes!("../../tests/vectors/turin-v5-vcek-ms/vek.der")).unwrap();
        let milan =
            Certificate::from_der(include_bytes!("../../tests/vectors/milan-v3-vcek-ms/vek.der")).unwrap();
        assert_eq!(vek(&turin).tcb(Product::Turin).unwrap(), Tcb([1, 1, 1, 4, 0, 0, 0, 0x51]));
        assert_eq!(vek(&milan).tcb(Product::Milan).unwrap(), Tcb([4, 0, 0, 0, 0, 0, 24, 219]));
        assert!(vek(&turin).tcb(Product::Milan).is_err());
        assert!(vek(&milan).tcb(Product::Turin).is_err());
        assert!(vek(&milan).product_name(Product::Turin).is_err());
        assert!(vek(&milan).chip_id(Product::Turin).is_err());
        assert!(vek(&turin).chip_id(Product::Milan).is_err());
    }
}
