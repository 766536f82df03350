//! What a guest is beside its memory: policy, signed identity, the fields that reports carry.

use std::sync::Arc;

use crate::identity::{ID_AUTH_LEN, ID_BLOCK_LEN};

/// Policy and identity of a confidential guest: reported with the measurement. Only `vmsa_features` is
/// part of it as well, through every vCPU's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// SNP guest policy (coco.md 2.4). Bit 17 is always set.
    pub policy: u64,
    /// SEV features of the VMSA without SNP_ACTIVE, which KVM adds (coco.md 2.5).
    pub vmsa_features: u64,
    /// SNP HOST_DATA: 32 bytes of the host's, reported to the guest; ours is SHA-256 of the init data.
    pub host_data: [u8; 32],
    /// SNP: the ID block and its authentication, which LAUNCH_FINISH takes.
    pub id: Option<SignedIdBytes>,
    /// SNP: reports signed with the VCEK are forbidden (VLEK only).
    pub vcek_disabled: bool,
    /// A TD's identity.
    pub tdx: TdIdentity,
}

/// An SNP ID block and its authentication page, as they are given to LAUNCH_FINISH (coco.md 2.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIdBytes {
    /// The ID block.
    pub block: [u8; ID_BLOCK_LEN],
    /// Its authentication.
    pub auth: Arc<[u8; ID_AUTH_LEN]>,
    /// Whether the ID key is signed with an author key.
    pub author_key: bool,
}

/// Identity and configuration of a TD (struct td_params; coco.md 3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdIdentity {
    /// ATTRIBUTES that are asked for.
    pub attributes: u64,
    /// XFAM that is asked for; None for all that the module and KVM support.
    pub xfam: Option<u64>,
    /// MRCONFIGID: software-defined ID for the configuration of the guest.
    pub mrconfigid: [u8; 48],
    /// MROWNER: software-defined ID of the guest's owner.
    pub mrowner: [u8; 48],
    /// MROWNERCONFIG: software-defined ID for the owner's configuration.
    pub mrownerconfig: [u8; 48],
}

impl TdIdentity {
    /// SEPT_VE_DISABLE: a guest access to a page that it did not accept ends the guest instead of raising
    /// #VE, which Linux asks for.
    pub const SEPT_VE_DISABLE: u64 = 1 << 28;
}

impl Default for TdIdentity {
    fn default() -> Self {
        TdIdentity {
            attributes: Self::SEPT_VE_DISABLE,
            xfam: None,
            mrconfigid: [0; 48],
            mrowner: [0; 48],
            mrownerconfig: [0; 48],
        }
    }
}

impl Identity {
    /// SNP guest policy that we use unless told otherwise: SMT allowed, bit 17 (must be 1), no debug.
    pub const DEFAULT_POLICY: u64 = 0x30000;
}

impl Default for Identity {
    fn default() -> Self {
        Identity {
            policy: Self::DEFAULT_POLICY,
            vmsa_features: 0,
            host_data: [0; 32],
            id: None,
            vcek_disabled: false,
            tdx: TdIdentity::default(),
        }
    }
}
