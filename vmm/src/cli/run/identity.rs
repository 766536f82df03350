//! The keys of `--coco` as the identity that the guest is launched with.

use std::sync::Arc;

use cloister_firmware::identity::{ID_AUTH_LEN, ID_BLOCK_LEN, IdBlock, verify_id};
use cloister_firmware::measure::Digest384;
use cloister_firmware::plan::{Identity, SignedIdBytes, TdIdentity};

use crate::config::{BlobSpec, CocoPlatform, CocoSpec};
use crate::refusal::Refusal;

/// Bits of the SNP guest policy (SEV-SNP firmware ABI, table 9).
mod policy {
    pub(super) const RESERVED_ONE: u64 = 1 << 17;
    pub(super) const MIGRATION_AGENT: u64 = 1 << 18;
    pub(super) const DEBUG: u64 = 1 << 19;
    /// From here on no bit has a meaning.
    pub(super) const DEFINED: u64 = (1 << 26) - 1;
}

/// SEV features of the VMSA (AMD APM vol. 2, table B-3).
mod features {
    pub(super) const SNP_ACTIVE: u64 = 1 << 0;
    pub(super) const DEBUG_SWAP: u64 = 1 << 5;
    pub(super) const SECURE_TSC: u64 = 1 << 9;
}

/// DEBUG in a TD's ATTRIBUTES.
const TD_DEBUG: u64 = 1 << 0;

/// The identity that `coco` asks for, its files read.
pub(super) fn identity(coco: &CocoSpec) -> Result<Identity, Refusal> {
    if coco.platform == CocoPlatform::Tdx {
        return Ok(Identity { tdx: td_identity(coco)?, ..Identity::default() });
    }
    let policy = snp_policy(coco)?;
    Ok(Identity {
        policy,
        vmsa_features: vmsa_features(coco)?,
        host_data: load(&coco.snp.host_data, "host-data")?.unwrap_or([0; 32]),
        id: signed_id(coco, policy)?,
        vcek_disabled: coco.snp.vcek_disabled.unwrap_or(false),
        tdx: TdIdentity::default(),
    })
}

/// Whether the host may read the guest's memory.
pub(super) fn allows_debugging(identity: &Identity) -> bool {
    identity.policy & policy::DEBUG != 0
}

fn snp_policy(coco: &CocoSpec) -> Result<u64, Refusal> {
    let given = coco.snp.policy.unwrap_or(Identity::DEFAULT_POLICY);
    let value = with(given, policy::DEBUG, coco.debug);
    let refuse = |why: &str, remedy: u64| {
        Refusal::new(
            format_args!("no guest can have the policy {value:#x}"),
            why,
            format_args!("give policy={remedy:#x}, or leave it away for {:#x}", Identity::DEFAULT_POLICY),
        )
    };
    if value & policy::RESERVED_ONE == 0 {
        return Err(refuse("bit 17 is clear, and the platform wants it set", value | policy::RESERVED_ONE));
    }
    if value & policy::MIGRATION_AGENT != 0 {
        let why = "bit 18 asks for a migration agent, and KVM launches no guest with one";
        return Err(refuse(why, value & !policy::MIGRATION_AGENT));
    }
    if value & !policy::DEFINED != 0 {
        return Err(refuse("bits 26 to 63 have no meaning, and must be clear", value & policy::DEFINED));
    }
    Ok(value)
}

fn vmsa_features(coco: &CocoSpec) -> Result<u64, Refusal> {
    let given = coco.snp.vmsa_features.unwrap_or(0) & !features::SNP_ACTIVE;
    let value = with(given, features::DEBUG_SWAP, coco.snp.debug_swap);
    let value = with(value, features::SECURE_TSC, coco.snp.secure_tsc);
    let known = features::DEBUG_SWAP | features::SECURE_TSC;
    if value & !known != 0 {
        return Err(Refusal::new(
            format_args!("cannot launch with the SEV features {:#x}", value | features::SNP_ACTIVE),
            "KVM takes bit 5 (debug swap) and bit 9 (Secure TSC), and sets bit 0 (SNP) by itself",
            format_args!("give vmsa-features={:#x}, or none", value & known | features::SNP_ACTIVE),
        ));
    }
    Ok(value)
}

fn td_identity(coco: &CocoSpec) -> Result<TdIdentity, Refusal> {
    let usual = TdIdentity::default();
    let keys = &coco.tdx;
    let attributes = with(keys.attributes.unwrap_or(usual.attributes), TD_DEBUG, coco.debug);
    let attributes = with(attributes, TdIdentity::SEPT_VE_DISABLE, keys.sept_ve_disable);
    if attributes & TD_DEBUG != 0 {
        return Err(Refusal::new(
            "cannot launch a TD that may be debugged",
            "KVM lets nobody set the attribute DEBUG (bit 0)",
            "leave debug=on and that bit of attributes= away; run the guest with --coco off to debug it",
        ));
    }
    Ok(TdIdentity {
        attributes,
        xfam: keys.xfam,
        mrconfigid: load(&keys.mrconfigid, "mrconfigid")?.unwrap_or(usual.mrconfigid),
        mrowner: load(&keys.mrowner, "mrowner")?.unwrap_or(usual.mrowner),
        mrownerconfig: load(&keys.mrownerconfig, "mrownerconfig")?.unwrap_or(usual.mrownerconfig),
    })
}

fn signed_id(coco: &CocoSpec, policy: u64) -> Result<Option<SignedIdBytes>, Refusal> {
    let keys = &coco.snp;
    let alone = |key: &str, other: &str| {
        Refusal::new(
            format_args!("{key} without {other}"),
            "the platform takes an ID block and its authentication together",
            format_args!("add {other}=@FILE; `cloister measure snp --id-block FILE` writes both"),
        )
    };
    let (block, auth) = match (&keys.id_block, &keys.id_auth) {
        (Some(block), Some(auth)) => (block, auth),
        (Some(_), None) => return Err(alone("id-block", "id-auth")),
        (None, Some(_)) => return Err(alone("id-auth", "id-block")),
        (None, None) if keys.author_key_enabled.is_some() => {
            return Err(alone("author-key-enabled", "id-block"));
        }
        (None, None) => return Ok(None),
    };
    let block: [u8; ID_BLOCK_LEN] = block.load("id-block")?;
    let auth: [u8; ID_AUTH_LEN] = auth.load("id-auth")?;
    let signed = IdBlock::parse(&block).map_err(|version| {
        Refusal::new(
            "cannot use the ID block",
            format_args!("it has version {version}, and there is only version 1: is it an ID block?"),
            "make one with `cloister measure snp --id-block FILE`",
        )
    })?;
    if signed.policy != policy {
        return Err(Refusal::new(
            "the ID block was signed for another policy",
            format_args!("it says {:#x}, and the guest is to be launched with {policy:#x}", signed.policy),
            format_args!("give policy={:#x}, or have a block signed for {policy:#x}", signed.policy),
        ));
    }
    let author_key = author_key(&auth, keys.author_key_enabled)?;
    verify_id(&block, &auth, author_key).map_err(|fault| {
        Refusal::new(
            "the platform would refuse the ID block",
            fault,
            "give the two files that were made together: `cloister measure snp --id-block FILE` writes both",
        )
    })?;
    Ok(Some(SignedIdBytes { block, auth: Arc::new(auth), author_key }))
}

/// Whether the author key counts. A page with one is not launched without it unless that was meant.
fn author_key(auth: &[u8; ID_AUTH_LEN], enabled: Option<bool>) -> Result<bool, Refusal> {
    match (enabled, IdBlock::has_author(auth)) {
        (Some(true), false) => Err(Refusal::new(
            "author-key-enabled=on, but id-auth has no author key",
            "the field AUTHOR_KEY_ALGO is 0",
            "sign the ID key with an author key (--author-key), or leave author-key-enabled away",
        )),
        (None, true) => Err(Refusal::new(
            "id-auth has an author key, and author-key-enabled is not given",
            "without it the platform ignores the author, and reports do not name it",
            "add author-key-enabled=on (or off)",
        )),
        (enabled, _) => Ok(enabled.unwrap_or(false)),
    }
}

/// Refuses a guest that its own ID block forbids: the platform would, but late and without the reason.
pub(super) fn check_digest(identity: &Identity, predicted: Digest384) -> Result<(), Refusal> {
    let Some(signed) = identity.id.as_ref().and_then(|id| IdBlock::parse(&id.block).ok()) else {
        return Ok(());
    };
    if signed.digest == predicted {
        return Ok(());
    }
    Err(Refusal::new(
        format_args!("the ID block was signed for another guest: {}", signed.digest),
        format_args!("this one will measure to {predicted}, and the platform would refuse it"),
        format_args!(
            "find what differs: `cloister measure` with the same flags and --explain {}; or have a block \
             signed for this guest",
            signed.digest
        ),
    ))
}

/// `value` with `bit` as the switch says, if it says anything.
fn with(value: u64, bit: u64, switch: Option<bool>) -> u64 {
    match switch {
        Some(true) => value | bit,
        Some(false) => value & !bit,
        None => value,
    }
}

fn load<const N: usize>(blob: &Option<BlobSpec<N>>, key: &str) -> Result<Option<[u8; N]>, Refusal> {
    blob.as_ref().map(|blob| blob.load(key)).transpose()
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
