//! The pinned roots. Nothing else is ever trusted, and none of them is ever fetched.

use super::Product;
use crate::sim_pki;

/// A product's pinned certificates, DER.
#[derive(Debug, Clone, Copy)]
pub struct PinnedRoot {
    /// The product.
    pub product: Product,
    /// The root.
    pub ark: &'static [u8],
    /// The intermediate for chip keys.
    pub ask: &'static [u8],
    /// The intermediate for keys that a provider loads.
    pub asvk: Option<&'static [u8]>,
}

/// AMD's roots for the three products, and the simulator's.
pub const PINNED: [PinnedRoot; 4] = [
    PinnedRoot {
        product: Product::Milan,
        ark: include_bytes!("roots/milan_ark.der"),
        ask: include_bytes!("roots/milan_ask.der"),
        asvk: Some(include_bytes!("roots/milan_asvk.der")),
    },
    PinnedRoot {
        product: Product::Genoa,
        ark: include_bytes!("roots/genoa_ark.der"),
        ask: include_bytes!("roots/genoa_ask.der"),
        asvk: Some(include_bytes!("roots/genoa_asvk.der")),
    },
    PinnedRoot {
        product: Product::Turin,
        ark: include_bytes!("roots/turin_ark.der"),
        ask: include_bytes!("roots/turin_ask.der"),
        asvk: Some(include_bytes!("roots/turin_asvk.der")),
    },
    PinnedRoot { product: Product::Simulated, ark: sim_pki::ARK_DER, ask: sim_pki::ASK_DER, asvk: None },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::Certificate;
    use crate::crypto::AwsLc;
    use sha2::{Digest, Sha256};

    #[test]
    fn digests_are_the_published_ones() {
        let digests = PINNED.map(|root| hex::encode(&Sha256::digest(root.ark)[..8]));
        let expected = ["69d063b45344d26a", "4c6598d19c18719c", "1f084161a44bb6d9", "0c6301e1f58a2445"];
        assert_eq!(digests, expected);
    }

    #[test]
    fn every_pinned_chain_verifies() {
        for root in PINNED {
            let ark = Certificate::from_der(root.ark).unwrap();
            assert_eq!(ark.is_signed_by(&ark, &AwsLc), Ok(true));
            assert!(ark.is_ca() && ark.names_as_issuer(&ark));
            for der in [Some(root.ask), root.asvk].into_iter().flatten() {
                let ask = Certificate::from_der(der).unwrap();
                assert_eq!(ask.is_signed_by(&ark, &AwsLc), Ok(true), "{}", root.product);
                assert!(ask.is_ca() && ask.names_as_issuer(&ark));
            }
        }
    }

    #[test]
    fn only_the_simulators_root_is_the_simulators() {
        let simulated: Vec<_> = PINNED.iter().filter(|root| root.product == Product::Simulated).collect();
        assert_eq!(simulated.len(), 1);
        assert_eq!(simulated[0].ark, sim_pki::ARK_DER);
    }
}
