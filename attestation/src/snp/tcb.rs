//! TCB versions: eight bytes whose meaning depends on the product.

use std::fmt;

use super::Product;

/// A component of the TCB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// Firmware of the microcontroller (Turin).
    Fmc,
    /// Boot loader of the secure processor.
    Bootloader,
    /// Its operating system.
    Tee,
    /// SNP firmware.
    Snp,
    /// Microcode.
    Microcode,
    /// A reserved byte, by its index in the field.
    Reserved(u8),
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fmc => f.write_str("fmc"),
            Self::Bootloader => f.write_str("bootloader"),
            Self::Tee => f.write_str("tee"),
            Self::Snp => f.write_str("snp"),
            Self::Microcode => f.write_str("microcode"),
            Self::Reserved(i) => write!(f, "reserved byte {i}"),
        }
    }
}

/// A TCB version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tcb(pub [u8; 8]);

impl Tcb {
    /// Every byte of the field with its meaning for `product`.
    pub fn components(self, product: Product) -> [(Component, u8); 8] {
        use Component::{Bootloader, Fmc, Microcode, Reserved, Snp, Tee};
        let [b0, b1, b2, b3, b4, b5, b6, b7] = self.0;
        match product {
            Product::Milan | Product::Genoa | Product::Simulated => [
                (Bootloader, b0),
                (Tee, b1),
                (Reserved(2), b2),
                (Reserved(3), b3),
                (Reserved(4), b4),
                (Reserved(5), b5),
                (Snp, b6),
                (Microcode, b7),
            ],
            Product::Turin => [
                (Fmc, b0),
                (Bootloader, b1),
                (Tee, b2),
                (Snp, b3),
                (Reserved(4), b4),
                (Reserved(5), b5),
                (Reserved(6), b6),
                (Microcode, b7),
            ],
        }
    }

    /// One component; none if the product does not have it.
    pub fn get(self, product: Product, component: Component) -> Option<u8> {
        self.components(product).iter().find(|(c, _)| *c == component).map(|(_, value)| *value)
    }

    /// "bootloader 4, tee 0, snp 24, microcode 219", without the reserved bytes.
    pub fn describe(self, product: Product) -> String {
        let named = self.components(product);
        let named = named.iter().filter(|(c, _)| !matches!(c, Component::Reserved(_)));
        named.map(|(c, value)| format!("{c} {value}")).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_differ_by_product() {
        let tcb = Tcb([1, 2, 3, 4, 0, 0, 7, 8]);
        assert_eq!(tcb.describe(Product::Milan), "bootloader 1, tee 2, snp 7, microcode 8");
        assert_eq!(tcb.describe(Product::Turin), "fmc 1, bootloader 2, tee 3, snp 4, microcode 8");
        assert_eq!(tcb.get(Product::Genoa, Component::Fmc), None);
    }
}
