//! Product lines, by what a report and a certificate say.

use std::fmt;

use serde::Deserialize;

/// A line of processors with its own root. Codenames, as in AMD's certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Product {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004, 97x4 and 8004 (Genoa, Bergamo, Siena).
    Genoa,
    /// EPYC 9005.
    Turin,
    /// Cloister's simulator: no hardware at all. Policies cannot list it, only `allow-sim`.
    #[serde(skip)]
    Simulated,
}

impl Product {
    /// The hardware products.
    pub const HARDWARE: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// By CPUID family and model, as reports of version 3 and later have them.
    pub fn from_cpuid(family: u8, model: u8, stepping: u8) -> Option<Self> {
        match (family, model, stepping) {
            (0x19, 0x00..=0x0f, _) => Some(Self::Milan),
            (0x19, 0x10..=0x1f | 0xa0..=0xaf, _) => Some(Self::Genoa),
            (0x1a, 0x00..=0x11, _) => Some(Self::Turin),
            (0, 0, 0) => Some(Self::Simulated),
            _ => None,
        }
    }

    /// The name in AMD's certificates (productName1, without a stepping).
    pub fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
            Self::Simulated => crate::sim_pki::PRODUCT_NAME,
        }
    }

    /// Whether productName1 of a certificate is this product: its name, or its name with a stepping
    /// ("Milan-B0").
    pub fn is_named(self, product_name: &str) -> bool {
        let rest = product_name.strip_prefix(self.name());
        rest.is_some_and(|rest| rest.is_empty() || (rest.len() == 3 && rest.starts_with('-')))
    }

    /// structVersion of its certificates.
    pub fn struct_version(self) -> u8 {
        u8::from(self == Self::Turin)
    }

    /// How many bytes of CHIP_ID identify the chip; the rest are zero.
    pub fn chip_id_len(self) -> usize {
        if self == Self::Turin { 8 } else { 64 }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpuid_ranges_end_where_they_should() {
        let of = |family, model| Product::from_cpuid(family, model, 1);
        assert_eq!(of(0x19, 0x0f), Some(Product::Milan));
        assert_eq!(of(0x19, 0x10), Some(Product::Genoa));
        assert_eq!(of(0x19, 0xaf), Some(Product::Genoa));
        assert_eq!(of(0x19, 0x20), None);
        assert_eq!(of(0x1a, 0x11), Some(Product::Turin));
        assert_eq!(of(0x1a, 0x12), None);
        assert_eq!(of(0, 0), None);
        assert_eq!(Product::from_cpuid(0, 0, 0), Some(Product::Simulated));
    }

    #[test]
    fn names_allow_a_stepping_only() {
        assert!(Product::Milan.is_named("Milan") && Product::Milan.is_named("Milan-B0"));
        assert!(!Product::Milan.is_named("Milan-B0X") && !Product::Milan.is_named("Milano"));
        assert!(!Product::Milan.is_named("Genoa") && Product::Simulated.is_named("Cloister-Sim"));
    }
}
