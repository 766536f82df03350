//! What a simulated platform offers: the TDX module's and KVM's choices.

use super::cpuid;
use crate::sim::Weather;
use crate::tdx::abi::CpuidEntry;

/// ATTRIBUTES.SEPT_VE_DISABLE: all that KVM lets userspace ask for (arch/x86/kvm/vmx/tdx.c,
/// KVM_SUPPORTED_TD_ATTRS).
const SEPT_VE_DISABLE: u64 = 1 << 28;

/// x87, SSE, AVX, AVX-512, PKRU, CET and AMX: what KVM supports of the state that a module allows.
const XFAM: u64 = 0b111 | 0b111 << 5 | 1 << 9 | 0b11 << 11 | 0b11 << 17;

/// TDVMCALLs that userspace may say it answers: SetupEventNotifyInterrupt, and no other
/// (arch/x86/kvm/vmx/tdx.c, init_kvm_tdx_caps).
const USER_CALLS: u64 = 1 << 1;

/// A platform that TDs can be launched on. `Default` is a plausible one; every part can be changed.
#[derive(Debug, Clone)]
pub struct TdxPlatform {
    /// ATTRIBUTES that may be asked for.
    pub attributes: u64,
    /// ATTRIBUTES that the module sets anyway.
    pub attributes_fixed1: u64,
    /// XFAM bits that may be asked for.
    pub xfam: u64,
    /// XFAM bits that the module sets anyway.
    pub xfam_fixed1: u64,
    /// The CPUID leaves that can be configured; set bits may be set.
    pub cpuid: Vec<CpuidEntry>,
    /// Whether the host has five-level EPT: without it a GPAW of 52 is refused.
    pub five_level_ept: bool,
    /// GetTdVmCallInfo leaf 1, R11: calls that userspace may say it answers.
    pub user_tdvmcallinfo_1_r11: u64,
    /// How often commands are disturbed.
    pub weather: Weather,
}

impl Default for TdxPlatform {
    fn default() -> Self {
        TdxPlatform {
            attributes: SEPT_VE_DISABLE,
            attributes_fixed1: 0,
            xfam: XFAM,
            xfam_fixed1: 0b11,
            cpuid: cpuid::configurable(),
            five_level_ept: true,
            user_tdvmcallinfo_1_r11: USER_CALLS,
            weather: Weather::calm(),
        }
    }
}
