//! What this host's KVM and SEV firmware allow an SNP guest, asked before anything is made.

use cloister_firmware::plan::Identity;
use snafu::Snafu;

use super::kernel::Kernel;

/// KVM_X86_GRP_SEV (arch/x86/include/uapi/asm/kvm.h).
const GROUP: u32 = 1;
/// KVM_X86_SEV_VMSA_FEATURES
const VMSA_FEATURES: u64 = 0;
/// KVM_X86_SNP_POLICY_BITS, since Linux 6.19: what KVM knows and the firmware supports.
const POLICY_BITS: u64 = 1;
/// KVM_X86_SEV_SNP_REQ_CERTS, since Linux 7.0.
const REQ_CERTS: u64 = 2;

/// What the guest asks for and this host does not give.
#[derive(Debug, Snafu, PartialEq, Eq)]
pub enum SnpHostError {
    /// Bits of the guest policy.
    #[snafu(display(
        "the guest policy {policy:#x} sets {}, which this host's KVM or SEV firmware does not have: leave \
         {} out of policy=, or update the host's kernel and firmware", named(*bits, POLICY_NAMES), it(*bits)
    ))]
    Policy {
        /// The policy asked for.
        policy: u64,
        /// Its bits that are not there.
        bits: u64,
    },
    /// Bits of the vCPUs' SEV features.
    #[snafu(display(
        "vmsa-features={features:#x} sets {}, which this host's KVM does not offer: leave {} out, or update the \
         host's kernel", named(*bits, FEATURE_NAMES), it(*bits)
    ))]
    Features {
        /// The features asked for.
        features: u64,
        /// Its bits that are not there.
        bits: u64,
    },
    /// Certificates on request.
    #[snafu(display(
        "this host's KVM does not ask for certificates (KVM_EXIT_SNP_REQ_CERTS): leave --certs away, or run \
         Linux 7.0 or later"
    ))]
    NoCertificates,
}

/// Compares what is asked for with what there is. A kernel that is too old to say is not asked again: the
/// launch itself will tell.
pub(super) fn check(kernel: &Kernel, identity: &Identity, certificates: bool) -> Result<(), SnpHostError> {
    let offered = |attr| kernel.system_attribute(GROUP, attr).ok();
    let missing = |asked: u64, attr| offered(attr).map_or(0, |there| asked & !there);
    let (features, policy) = (identity.vmsa_features, identity.policy);
    match missing(features, VMSA_FEATURES) {
        0 => {}
        bits => return FeaturesSnafu { features, bits }.fail(),
    }
    // The low 16 bits are the least ABI version, and no flags.
    match missing(policy & !0xffff, POLICY_BITS) {
        0 => {}
        bits => return PolicySnafu { policy, bits }.fail(),
    }
    if certificates && offered(REQ_CERTS) != Some(1) {
        return NoCertificatesSnafu.fail();
    }
    Ok(())
}

/// Guest policy bits (SEV-SNP firmware ABI 56860, table 10; coco.md 2.4).
const POLICY_NAMES: &[(u32, &str)] = &[
    (16, "SMT allowed"),
    (17, "reserved, must be one"),
    (18, "migration agent allowed"),
    (19, "debugging allowed"),
    (20, "single socket"),
    (21, "CXL allowed"),
    (22, "AES-256-XTS memory encryption"),
    (23, "RAPL disabled"),
    (24, "ciphertext hiding"),
    (25, "page swap disabled"),
];

/// SEV features of the VMSA (AMD APM vol. 2, table B-4; coco.md 2.5).
const FEATURE_NAMES: &[(u32, &str)] = &[
    (0, "SNP active, which KVM sets by itself"),
    (1, "vTOM"),
    (2, "reflect #VC"),
    (3, "restricted injection"),
    (4, "alternate injection"),
    (5, "debug swap"),
    (6, "prevent host IBS"),
    (7, "BTB isolation"),
    (8, "VMPL supervisor shadow stack"),
    (9, "Secure TSC"),
    (10, "VMGEXIT parameter"),
    (12, "IBS virtualisation"),
    (14, "VMSA register protection"),
    (15, "SMT protection"),
];

fn named(bits: u64, names: &[(u32, &str)]) -> String {
    let bit = |n: u32| match names.iter().find(|(bit, _)| *bit == n) {
        Some((_, name)) => format!("bit {n} ({name})"),
        None => format!("bit {n}"),
    };
    let all: Vec<_> = (0..64).filter(|n| bits >> n & 1 != 0).map(bit).collect();
    all.join(" and ")
}

fn it(bits: u64) -> &'static str {
    if bits.count_ones() == 1 { "it" } else { "them" }
}
