//! What a simulated platform is: KVM's, the firmware's and the machine's choices.

use crate::sim::Weather;
use crate::sim::report::ReportForm;

/// Bits of the guest policy (SEV-SNP firmware ABI, table 9; coco.md 2.4).
mod policy {
    pub(super) const SMT: u64 = 1 << 16;
    pub(super) const MUST_BE_ONE: u64 = 1 << 17;
    pub(super) const MIGRATE_MA: u64 = 1 << 18;
    pub(super) const SINGLE_SOCKET: u64 = 1 << 20;
    pub(super) const AES_256_XTS: u64 = 1 << 22;
    pub(super) const RAPL_DISABLED: u64 = 1 << 23;
    pub(super) const CIPHERTEXT_HIDING: u64 = 1 << 24;
    /// All that are defined.
    pub(super) const DEFINED: u64 = (1 << 26) - 1;
}

/// Bits of PLATFORM_INFO in reports (coco.md, attestation.md 1.1).
mod info {
    pub(super) const SMT: u64 = 1 << 0;
    pub(super) const RAPL_DISABLED: u64 = 1 << 3;
    pub(super) const CIPHERTEXT_HIDING: u64 = 1 << 4;
    pub(super) const ALIAS_CHECK_COMPLETE: u64 = 1 << 5;
}

/// A platform that SNP guests can be launched on. `Default` is a plausible one; every part can be changed.
#[derive(Debug, Clone)]
pub struct SnpPlatform {
    /// API version of the firmware, major and minor.
    pub abi: (u8, u8),
    /// PLATFORM_INFO as reports have it: what of SMT, RAPL and ciphertext hiding is on.
    pub info: u64,
    /// Processor sockets.
    pub sockets: u32,
    /// Whether memory is encrypted with AES-256-XTS.
    pub aes_256_xts: bool,
    /// Policy bits that KVM lets through (KVM_X86_SNP_POLICY_BITS).
    pub policy_bits: u64,
    /// VMSA features that KVM takes from userspace (KVM_X86_SEV_VMSA_FEATURES): debug swap, Secure TSC.
    pub vmsa_features: u64,
    /// Whether KVM knows SNP_ENABLE_REQ_CERTS (Linux 7.0).
    pub certificates: bool,
    /// The number at which `/dev/sev` is open; None: whatever number a command gives.
    pub sev_fd: Option<u32>,
    /// Whether the firmware holds a CPUID page to what AMD's processors have. Guests of the simulator run on any
    /// processor, so that it does not unless told.
    pub cpuid_policy: bool,
    /// Version and layout of reports.
    pub report: ReportForm,
    /// How often commands are disturbed.
    pub weather: Weather,
}

impl Default for SnpPlatform {
    fn default() -> Self {
        SnpPlatform {
            abi: (1, 55),
            info: info::ALIAS_CHECK_COMPLETE,
            sockets: 1,
            aes_256_xts: true,
            policy_bits: policy::DEFINED & !policy::MIGRATE_MA,
            vmsa_features: 1 << 5 | 1 << 9,
            certificates: true,
            sev_fd: None,
            cpuid_policy: false,
            report: ReportForm::default(),
            weather: Weather::calm(),
        }
    }
}

impl SnpPlatform {
    /// Whether KVM lets the policy through to the firmware.
    pub(super) fn kvm_takes(&self, policy: u64) -> bool {
        policy & !self.policy_bits == 0 && policy & policy::MUST_BE_ONE != 0
    }

    /// Whether the firmware and the machine are what the policy asks for.
    pub(super) fn meets(&self, policy: u64) -> bool {
        let [minor, major, ..] = policy.to_le_bytes();
        let needs = |bit: u64, there: bool| policy & bit == 0 || there;
        (major, minor) <= self.abi
            && (self.info & info::SMT == 0 || policy & policy::SMT != 0)
            && needs(policy::SINGLE_SOCKET, self.sockets == 1)
            && needs(policy::AES_256_XTS, self.aes_256_xts)
            && needs(policy::RAPL_DISABLED, self.info & info::RAPL_DISABLED != 0)
            && needs(policy::CIPHERTEXT_HIDING, self.info & info::CIPHERTEXT_HIDING != 0)
    }
}
