//! The launch digest as the secure processor builds it: a chain of PAGE_INFO structs
//! (SEV-SNP firmware ABI 56860, 8.17.2; coco.md 4.1).

use sha2::{Digest, Sha384};

use crate::snp::abi::PageType;

/// Guest-physical address under which KVM measures a VMSA: the last page of the 52-bit space.
const VMSA_GPA: u64 = 0xffff_ffff_f000;

/// A digest that grows page by page.
#[derive(Debug, Clone)]
pub(super) struct LaunchDigest([u8; 48]);

impl LaunchDigest {
    pub(super) fn new() -> Self {
        LaunchDigest([0; 48])
    }

    pub(super) fn value(&self) -> [u8; 48] {
        self.0
    }

    /// Adds a page. Only NORMAL and VMSA pages have their contents hashed.
    pub(super) fn add(&mut self, kind: PageType, gpa: u64, contents: &[u8]) {
        let hashed = matches!(kind, PageType::NORMAL | PageType::VMSA);
        let contents: [u8; 48] = if hashed { Sha384::digest(contents).into() } else { [0; 48] };
        let info = Sha384::new()
            .chain_update(self.0)
            .chain_update(contents)
            .chain_update(0x70u16.to_le_bytes())
            // Page type, IMI_PAGE = 0, reserved and the permissions of VMPL3..1 = 0.
            .chain_update([kind.0, 0, 0, 0, 0, 0])
            .chain_update(gpa.to_le_bytes());
        self.0 = info.finalize().into();
    }

    /// Adds a vCPU's save area, as KVM does at LAUNCH_FINISH.
    pub(super) fn add_vmsa(&mut self, vmsa: &[u8; 4096]) {
        self.add(PageType::VMSA, VMSA_GPA, vmsa);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(kind: PageType, gpa: u64) -> String {
        let mut d = LaunchDigest::new();
        d.add(kind, gpa, &[0; 4096]);
        hex::encode(d.value())
    }

    /// Micro vectors of coco.md 4.1.
    #[test]
    fn single_pages_from_the_zero_digest() {
        assert_eq!(
            one(PageType::ZERO, 0x800000),
            "4472405c6dbc65e5629805f2be1b3df74eb119841eff12466c24f43e67083c23df5e645b2742b6d9aa0f943e095cebaa"
        );
        assert_eq!(
            one(PageType::UNMEASURED, 0x1000),
            "81475a112c0223cebe1ccb31a0aa2567772871200b33515a3cbbd5ed6a68a8e630902dd83469ea6553554bfb67111fad"
        );
        assert_eq!(
            one(PageType::SECRETS, 0x80d000),
            "e82e99caf82a32c31ec5070eef9e2135866d8f7de60d756814f3bd8c989c1e826622e0a97dad026c6d9d81818780e6a2"
        );
        assert_eq!(
            one(PageType::CPUID, 0x80e000),
            "c9e46442d2b4ddb823fa6b4a907930de7e93901180c5a3126ba234193059a0a51a21ba82f05d2fe0f3136f22b1b1a8e4"
        );
        assert_eq!(
            one(PageType::NORMAL, 0),
            "9d13634b6014bb21cf059b2dc694e7bff01a8a7137041100cd2b695f3d10fb687267b97808b27f8f471d943bc6f53a20"
        );
    }
}
