//! What this host's TDX module and KVM offer a TD, and what is asked of them that they do not.

use kvm_bindings::kvm_cpuid_entry2;
use snafu::Snafu;

use super::abi::{CpuidEntry, TdxCapabilities};

/// What `KVM_TDX_CAPABILITIES` says: never assumed, always asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Capabilities {
    /// ATTRIBUTES bits that may be asked for.
    pub attributes: u64,
    /// XFAM bits that may be asked for.
    pub xfam: u64,
    /// GetTdVmCallInfo leaf 1, R11 and R12: the calls that the kernel answers.
    pub kernel_calls: [u64; 2],
    /// The same: the calls that we may offer, if we answer them.
    pub user_calls: [u64; 2],
    /// CPUID leaves that can be configured; in the registers, the bits that may be set.
    pub cpuid: Vec<kvm_cpuid_entry2>,
}

impl Capabilities {
    pub(super) fn new(head: &TdxCapabilities, cpuid: &[CpuidEntry]) -> Self {
        Capabilities {
            attributes: head.supported_attrs,
            xfam: head.supported_xfam,
            kernel_calls: [head.kernel_tdvmcallinfo_1_r11, head.kernel_tdvmcallinfo_1_r12],
            user_calls: [head.user_tdvmcallinfo_1_r11, head.user_tdvmcallinfo_1_r12],
            cpuid: cpuid.iter().map(Into::into).collect(),
        }
    }

    /// `asked` if the host has all of it, or the first bit that it has not.
    pub fn check_attributes(&self, asked: u64) -> Result<u64, NotOffered> {
        let missing = |bit| NotOffered {
            field: "ATTRIBUTES",
            bit,
            name: attribute_name(bit),
            asked,
            offered: self.attributes,
            limit: Limit::Host,
        };
        first_bit(asked & !self.attributes).map_or(Ok(asked), |bit| Err(missing(bit)))
    }

    /// The same for XFAM, of which KVM lets this process use `state`; without a wish, all of that which the
    /// host offers.
    pub fn check_xfam(&self, asked: Option<u64>, state: u64) -> Result<u64, NotOffered> {
        let offered = self.xfam & state;
        let Some(asked) = asked else { return Ok(offered) };
        let missing = |bit| NotOffered {
            field: "XFAM",
            bit,
            name: xfam_name(bit),
            asked,
            offered,
            limit: if self.xfam >> bit & 1 == 0 { Limit::Host } else { Limit::Process },
        };
        first_bit(asked & !offered).map_or(Ok(asked), |bit| Err(missing(bit)))
    }
}

fn first_bit(bits: u64) -> Option<u32> {
    (bits != 0).then(|| bits.trailing_zeros())
}

/// A guest asks for what this host does not offer.
#[derive(Debug, Snafu, PartialEq, Eq)]
#[snafu(display(
    "bit {bit} ({name}) of the TD's {field} is asked for, and {} (asked {asked:#x}, offered {offered:#x}). Leave \
     it out of the guest's configuration{}",
    match limit {
        Limit::Host => "this host does not offer it",
        Limit::Process => "KVM lets no guest of this process have it",
    },
    match limit {
        Limit::Host => ", or use a host whose TDX module and kernel have it",
        Limit::Process => "",
    },
))]
pub struct NotOffered {
    /// `ATTRIBUTES` or `XFAM`.
    pub field: &'static str,
    /// The lowest bit that is missing.
    pub bit: u32,
    /// Its name.
    pub name: &'static str,
    /// All that was asked for.
    pub asked: u64,
    /// All that there is.
    pub offered: u64,
    /// Whose limit it is.
    pub limit: Limit,
}

/// Who does not offer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The TDX module, or KVM for any TD.
    Host,
    /// KVM for the guests of this process, which has not asked for permission to use it.
    Process,
}

/// Name of a bit of TD ATTRIBUTES (Intel TDX module ABI specification).
fn attribute_name(bit: u32) -> &'static str {
    match bit {
        0 => "DEBUG",
        4 => "HGS_PLUS_PROF",
        5 => "PERF_PROF",
        6 => "PMT_PROF",
        16 => "ICSSD",
        27 => "LASS",
        28 => "SEPT_VE_DISABLE",
        29 => "MIGRATABLE",
        30 => "PKS",
        31 => "KL",
        62 => "TPA",
        63 => "PERFMON",
        _ => "reserved",
    }
}

/// Name of a bit of XFAM, which are those of XCR0 and IA32_XSS (Intel SDM volume 1, chapter 13).
fn xfam_name(bit: u32) -> &'static str {
    match bit {
        0 => "x87",
        1 => "SSE",
        2 => "AVX",
        3 | 4 => "MPX",
        5..=7 => "AVX-512",
        8 => "PT",
        9 => "PKRU",
        10 => "PASID",
        11 => "CET user",
        12 => "CET supervisor",
        13 => "HDC",
        14 => "UINTR",
        15 => "LBR",
        16 => "HWP",
        17 | 18 => "AMX",
        19 => "APX",
        _ => "reserved",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(attributes: u64, xfam: u64) -> Capabilities {
        Capabilities { attributes, xfam, kernel_calls: [0; 2], user_calls: [0; 2], cpuid: vec![] }
    }

    #[test]
    fn what_the_host_does_not_offer_is_named_by_bit() {
        let host = host(1 << 28, 0x602e7);
        assert_eq!(host.check_attributes(1 << 28), Ok(1 << 28));
        assert_eq!(host.check_attributes(0), Ok(0));
        let refused = host.check_attributes(1 << 28 | 1 << 30 | 1).unwrap_err();
        assert_eq!((refused.bit, refused.name), (0, "DEBUG"));
        assert_eq!(host.check_attributes(1 << 63).unwrap_err().name, "PERFMON");

        let all = u64::MAX;
        assert_eq!(host.check_xfam(None, all), Ok(0x602e7));
        assert_eq!(host.check_xfam(None, 0x12e7), Ok(0x2e7), "no AMX that the process may not use");
        assert_eq!(host.check_xfam(Some(7), all), Ok(7));
        let refused = host.check_xfam(Some(0x60007), 7).unwrap_err();
        assert_eq!((refused.name, refused.limit), ("AMX", Limit::Process));
        assert!(refused.to_string().contains("no guest of this process"), "{refused}");
        let refused = host.check_xfam(Some(1 << 12 | 7), all).unwrap_err();
        assert_eq!((refused.bit, refused.name, refused.field), (12, "CET supervisor", "XFAM"));
        assert_eq!(refused.limit, Limit::Host);
        assert!(refused.to_string().contains("asked 0x1007, offered 0x602e7"), "{refused}");
    }
}
