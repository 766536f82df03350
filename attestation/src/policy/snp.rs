//! What an SEV-SNP report is judged by.

use std::fmt;

use serde::Deserialize;

use super::value::chip_ids;
use super::{AbiVersion, Hex};
use crate::snp::Product;

/// Least versions of TCB components. One that is not given may be anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcbFloor {
    /// Turin's microcontroller; a product without one fails.
    pub fmc: Option<u8>,
    /// Boot loader.
    pub bootloader: Option<u8>,
    /// The secure processor's operating system.
    pub tee: Option<u8>,
    /// SNP firmware.
    pub snp: Option<u8>,
    /// Microcode.
    pub microcode: Option<u8>,
}

impl TcbFloor {
    fn parts(&self) -> [(&'static str, Option<u8>); 5] {
        [
            ("fmc", self.fmc),
            ("bootloader", self.bootloader),
            ("tee", self.tee),
            ("snp", self.snp),
            ("microcode", self.microcode),
        ]
    }

    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for TcbFloor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.parts();
        let given = parts.iter().filter_map(|(name, value)| value.map(|value| format!("{name} {value}")));
        f.write_str(&given.collect::<Vec<_>>().join(", "))
    }
}

/// The `[snp]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct SnpPolicy {
    /// Launch digests, any of which is accepted.
    pub measurements: Vec<Hex<48>>,
    /// Digests of id block signing keys, any of which is accepted.
    pub id_key_digests: Vec<Hex<48>>,
    /// Digests of author keys, any of which is accepted.
    pub author_key_digests: Vec<Hex<48>>,
    /// FAMILY_ID of the id block.
    pub family_id: Option<Hex<16>>,
    /// IMAGE_ID of the id block.
    pub image_id: Option<Hex<16>>,
    /// Least GUEST_SVN of the id block.
    pub min_guest_svn: u32,
    /// HOST_DATA, in addition to the launch binding that the broker always checks.
    pub host_data: Option<Hex<32>>,
    /// The VMPL that must have asked for the report.
    pub vmpl: u32,

    /// Products that are accepted.
    pub products: Vec<Product>,
    /// Chips that are accepted; all if empty.
    #[serde(deserialize_with = "chip_ids")]
    pub chip_ids: Vec<Hex<64>>,
    /// Providers (cspID) whose VLEKs are accepted; all if empty.
    pub csp_ids: Vec<String>,
    /// Least REPORTED_TCB.
    pub min_tcb: TcbFloor,
    /// Least COMMITTED_TCB.
    pub min_committed_tcb: TcbFloor,
    /// Least LAUNCH_TCB.
    pub min_launch_tcb: TcbFloor,
    /// Whether CURRENT_TCB must be COMMITTED_TCB.
    pub require_committed_firmware: bool,
    /// Bits that LAUNCH_MIT_VECTOR must have.
    pub required_launch_mitigations: u64,
    /// Bits that CURRENT_MIT_VECTOR must have.
    pub required_current_mitigations: u64,
    /// Whether a revocation list must come along.
    pub require_crl: bool,

    /// Guest policy: DEBUG.
    pub allow_debug: bool,
    /// Guest policy: MIGRATE_MA.
    pub allow_migration_agent: bool,
    /// Guest policy: SMT.
    pub allow_smt: bool,
    /// Guest policy: CXL_ALLOW.
    pub allow_cxl: bool,
    /// Guest policy: least ABI version.
    pub min_abi: Option<AbiVersion>,
    /// Guest policy: SINGLE_SOCKET.
    pub require_single_socket: bool,
    /// Guest policy: MEM_AES_256_XTS.
    pub require_aes_256_xts: bool,
    /// Guest policy: RAPL_DIS.
    pub require_rapl_disabled: bool,
    /// Guest policy: CIPHERTEXT_HIDING.
    pub require_ciphertext_hiding: bool,
    /// Guest policy: PAGE_SWAP_DISABLE.
    pub require_page_swap_disabled: bool,

    /// Platform: SMT on.
    pub allow_platform_smt: bool,
    /// Platform: TSME on.
    pub require_tsme: bool,
    /// Platform: ECC on.
    pub require_ecc: bool,
    /// Platform: ciphertext hiding on.
    pub require_platform_ciphertext_hiding: bool,
    /// Platform: ALIAS_CHECK_COMPLETE (firmware with the fix for AMD-SB-3015).
    pub require_alias_check: bool,
}

impl Default for SnpPolicy {
    fn default() -> Self {
        Self {
            measurements: Vec::new(),
            id_key_digests: Vec::new(),
            author_key_digests: Vec::new(),
            family_id: None,
            image_id: None,
            min_guest_svn: 0,
            host_data: None,
            vmpl: 0,
            products: Product::HARDWARE.to_vec(),
            chip_ids: Vec::new(),
            csp_ids: Vec::new(),
            min_tcb: TcbFloor::default(),
            min_committed_tcb: TcbFloor::default(),
            min_launch_tcb: TcbFloor::default(),
            require_committed_firmware: false,
            required_launch_mitigations: 0,
            required_current_mitigations: 0,
            require_crl: false,
            allow_debug: false,
            allow_migration_agent: false,
            allow_smt: true,
            allow_cxl: false,
            min_abi: None,
            require_single_socket: false,
            require_aes_256_xts: false,
            require_rapl_disabled: false,
            require_ciphertext_hiding: false,
            require_page_swap_disabled: false,
            allow_platform_smt: true,
            require_tsme: false,
            require_ecc: false,
            require_platform_ciphertext_hiding: false,
            require_alias_check: false,
        }
    }
}

impl SnpPolicy {
    /// Whether any guest at all would do. Such a policy does not parse, and nothing passes it.
    pub fn names_no_identity(&self) -> bool {
        self.measurements.is_empty() && self.id_key_digests.is_empty() && self.author_key_digests.is_empty()
    }
}
