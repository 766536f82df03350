//! What the TDX module says when it refuses: the completion status of a SEAMCALL, which KVM hands on as
//! `hw_error`.
//!
//! Bit 63 says error, 62 that trying again does not help, 61 that the TD (or more) is lost; bits 47:40 are
//! the class, 39:32 the name within the class, 31:0 details, often the operand that is wrong (Intel TDX
//! module ABI specification, "Function Completion Status"; the values that Linux knows are in its
//! arch/x86/include/asm/shared/tdx_errno.h).

use std::fmt;

/// A completion status; 0 is success, and also what KVM says when the module was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SeamcallStatus(pub u64);

impl SeamcallStatus {
    /// The module was not asked, or had no objection.
    pub const NONE: Self = SeamcallStatus(0);
    /// An operand is wrong; the details say which.
    pub const OPERAND_INVALID: Self = SeamcallStatus(0xc000_0100_0000_0000);
    /// Something is locked by another caller; the details say what.
    pub const OPERAND_BUSY: Self = SeamcallStatus(0x8000_0200_0000_0000);
    /// RDRAND or RDSEED gave nothing.
    pub const RND_NO_ENTROPY: Self = SeamcallStatus(0x8000_0203_0000_0000);

    /// The status without its details.
    pub fn code(self) -> Self {
        SeamcallStatus(self.0 & 0xffff_ffff_0000_0000)
    }

    /// The same with an operand's id for details.
    pub fn with_operand(self, operand: Operand) -> Self {
        SeamcallStatus(self.code().0 | u64::from(operand.0))
    }

    /// Whether the command failed.
    pub fn is_error(self) -> bool {
        self.0 >> 63 != 0 || self.is_lost()
    }

    /// Whether the same command, later, may succeed: an error that is not marked non-recoverable.
    pub fn may_pass(self) -> bool {
        self.0 >> 63 != 0 && self.0 >> 62 & 1 == 0 && !self.is_lost()
    }

    /// Whether the TD cannot be saved.
    pub fn is_lost(self) -> bool {
        self.0 >> 61 & 1 != 0
    }

    /// The class, in words.
    pub fn class(self) -> &'static str {
        match self.0 >> 40 & 0xff {
            0x00 => "general",
            0x01 => "invalid operand",
            0x02 => "resource busy",
            0x03 => "page metadata",
            0x04 => "pages in use",
            0x05 => "module state",
            0x06 => "TD state",
            0x07 => "vCPU state",
            0x08 => "key management",
            0x09 => "platform configuration",
            0x0a => "physical memory",
            0x0b => "guest address mapping",
            0x0c => "metadata field",
            0x0d => "service TD",
            0x0e => "migration",
            0x10 => "report",
            0x11 => "nested guest",
            _ => "unknown class",
        }
    }

    /// The name in the TDX module's ABI, for what a launch can meet.
    pub fn name(self) -> &'static str {
        let code = self.code().0;
        NAMES.iter().find(|(value, _)| *value == code).map_or("unknown to this version", |(_, name)| name)
    }

    /// The operand that is meant, where the details name one.
    pub fn operand(self) -> Option<Operand> {
        let named = matches!(self.0 >> 32 & 0xffff, 0x0100 | 0x0101 | 0x0200 | 0x0204 | 0x0300);
        let operand = Operand(self.0 as u32);
        (named && (operand.0 != 0 || self.code() == Self::OPERAND_INVALID)).then_some(operand)
    }

    /// What the operator can do.
    pub fn advice(self) -> &'static str {
        match self.0 >> 32 & 0xffff {
            0x0100 | 0x0101 => self.operand().map_or(UPDATE, Operand::advice),
            0x0200..=0x0205 => {
                "Start the guest again; if it happens often, start fewer confidential guests at a time"
            }
            0x0005 | 0x0007 | 0x0604 => "Look for machine checks in the host's kernel log",
            0x0300..=0x03ff | 0x0b00..=0x0bff => {
                "Report it with the host's kernel log: kernel and TDX module disagree about the guest's pages"
            }
            0x0500..=0x05ff => "Look in the host's kernel log for why the TDX module is not ready",
            0x0705 => "Give the guest fewer vCPUs",
            0x0800..=0x0824 => "Stop another TD, or reserve more TDX keys in the host's firmware setup",
            0x0825 | 0x0900..=0x0aff => "Look at the host's firmware setup and update its firmware",
            _ => UPDATE,
        }
    }
}

const UPDATE: &str = "Look in the host's kernel log, and update the TDX module and the kernel together";

impl fmt::Display for SeamcallStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}, {} ({})", self.0, self.name(), self.class())?;
        match self.operand() {
            Some(operand) => write!(f, ", operand {operand}"),
            None => Ok(()),
        }
    }
}

/// What a command is about, as the module counts it ("Operand IDs" of the ABI specification): registers,
/// fields of TD_PARAMS, control structures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Operand(pub u32);

impl Operand {
    /// TD_PARAMS.ATTRIBUTES
    pub const ATTRIBUTES: Self = Operand(64);
    /// TD_PARAMS.XFAM
    pub const XFAM: Self = Operand(65);
    /// TD_PARAMS.EPTP_CONTROLS
    pub const EPTP_CONTROLS: Self = Operand(67);
    /// TD_PARAMS.MAX_VCPUS
    pub const MAX_VCPUS: Self = Operand(68);
    /// TD_PARAMS.CPUID_CONFIG
    pub const CPUID_CONFIG: Self = Operand(69);
    /// TD_PARAMS.TSC_FREQUENCY
    pub const TSC_FREQUENCY: Self = Operand(70);

    /// Its name, if it is one that a launch can meet.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "RAX",
            1 => "RCX",
            2 => "RDX",
            3 => "RBX",
            8 => "R8",
            9 => "R9",
            10 => "R10",
            11 => "R11",
            12 => "R12",
            64 => "ATTRIBUTES",
            65 => "XFAM",
            66 => "EXEC_CONTROLS",
            67 => "EPTP_CONTROLS",
            68 => "MAX_VCPUS",
            69 => "CPUID_CONFIG",
            70 => "TSC_FREQUENCY",
            71 => "NUM_L2_VMS",
            72 => "IA32_ARCH_CAPABILITIES_CONFIG",
            95 => "PAGE",
            128 => "TDR",
            129 => "TDCX",
            130 => "TDVPR",
            144 => "TDCS",
            145 => "TDVPS",
            146 => "SEPT_TREE",
            147 => "SEPT_ENTRY",
            168 => "RTMR",
            169 => "TD_EPOCH",
            172 => "OP_STATE",
            177 => "NUM_VCPUS",
            184 => "SYS",
            185 => "TDMR",
            186 => "KOT",
            187 => "KET",
            188 => "WBCACHE",
            _ => return None,
        })
    }

    fn advice(self) -> &'static str {
        match self {
            Self::ATTRIBUTES => "Ask for attributes that this host's TDX module has",
            Self::XFAM => "Ask for extended state (XFAM) that belongs together and that this host has",
            Self::EPTP_CONTROLS => "Update the TDX module: it does not know 48-bit guest addresses",
            Self::MAX_VCPUS => {
                "Update the TDX module: it takes fewer vCPUs per guest than this host has CPUs"
            }
            Self::CPUID_CONFIG => {
                "Look for \"TDH_MNG_INIT\" in the host's kernel log, which may name the CPUID leaf, and report it"
            }
            Self::TSC_FREQUENCY => {
                "Choose a TSC frequency from 100 MHz to 10 GHz in steps of 25 MHz, or none"
            }
            _ => UPDATE,
        }
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

/// Statuses that creating, filling and finalising a TD can end with.
const NAMES: [(u64, &str); 55] = [
    (0x0000_0000_0000_0000, "SUCCESS"),
    (0x4000_0001_0000_0000, "NON_RECOVERABLE_VCPU"),
    (0x4000_0002_0000_0000, "NON_RECOVERABLE_TD"),
    (0x6000_0002_0000_0000, "NON_RECOVERABLE_TD"),
    (0x8000_0003_0000_0000, "INTERRUPTED_RESUMABLE"),
    (0x8000_0004_0000_0000, "INTERRUPTED_RESTARTABLE"),
    (0x6000_0005_0000_0000, "NON_RECOVERABLE_TD_NON_ACCESSIBLE"),
    (0xc000_0006_0000_0000, "INVALID_RESUMPTION"),
    (0x6000_0007_0000_0000, "NON_RECOVERABLE_TD_WRONG_APIC_MODE"),
    (0xe000_0007_0000_0000, "NON_RECOVERABLE_TD_WRONG_APIC_MODE"),
    (0x6000_000a_0000_0000, "NON_RECOVERABLE_TD_CORRUPTED_MD"),
    (0xc000_0100_0000_0000, "OPERAND_INVALID"),
    (0xc000_0101_0000_0000, "OPERAND_ADDR_RANGE_ERROR"),
    (0x8000_0200_0000_0000, "OPERAND_BUSY"),
    (0x8000_0201_0000_0000, "PREVIOUS_TLB_EPOCH_BUSY"),
    (0x8000_0202_0000_0000, "SYS_BUSY"),
    (0x8000_0203_0000_0000, "RND_NO_ENTROPY"),
    (0x8000_0204_0000_0000, "OPERAND_BUSY_HOST_PRIORITY"),
    (0x9000_0205_0000_0000, "HOST_PRIORITY_BUSY_TIMEOUT"),
    (0xc000_0300_0000_0000, "PAGE_METADATA_INCORRECT"),
    (0xc000_0302_0000_0000, "PAGE_NOT_OWNED_BY_TD"),
    (0xc000_0303_0000_0000, "PAGE_NOT_FREE"),
    (0xc000_0400_0000_0000, "TD_ASSOCIATED_PAGES_EXIST"),
    (0xc000_0505_0000_0000, "SYS_NOT_READY"),
    (0xc000_0506_0000_0000, "SYS_SHUTDOWN"),
    (0xc000_0508_0000_0000, "SYS_STATE_INCORRECT"),
    (0xe000_0604_0000_0000, "TD_FATAL"),
    (0xc000_0605_0000_0000, "TD_NON_DEBUG"),
    (0xc000_0606_0000_0000, "TDCS_NOT_ALLOCATED"),
    (0xc000_0607_0000_0000, "LIFECYCLE_STATE_INCORRECT"),
    (0xc000_0608_0000_0000, "OP_STATE_INCORRECT"),
    (0xc000_0609_0000_0000, "NO_VCPUS"),
    (0xc000_0610_0000_0000, "TDCX_NUM_INCORRECT"),
    (0xc000_0621_0000_0000, "X2APIC_ID_NOT_UNIQUE"),
    (0xc000_0700_0000_0000, "VCPU_STATE_INCORRECT"),
    (0x8000_0701_0000_0000, "VCPU_ASSOCIATED"),
    (0x8000_0702_0000_0000, "VCPU_NOT_ASSOCIATED"),
    (0xc000_0705_0000_0000, "MAX_VCPUS_EXCEEDED"),
    (0x8000_0800_0000_0000, "KEY_GENERATION_FAILED"),
    (0x8000_0810_0000_0000, "TD_KEYS_NOT_CONFIGURED"),
    (0xc000_0811_0000_0000, "KEY_STATE_INCORRECT"),
    (0x0000_0815_0000_0000, "KEY_CONFIGURED"),
    (0xc000_0820_0000_0000, "HKID_NOT_FREE"),
    (0xc000_0825_0000_0000, "NUM_ACTIVATED_HKIDS_NOT_SUPPORTED"),
    (0xc000_0900_0000_0000, "INCORRECT_CPUID_VALUE"),
    (0xc000_0902_0000_0000, "INCONSISTENT_CPUID_FIELD"),
    (0xc000_0920_0000_0000, "INCONSISTENT_MSR"),
    (0xc000_0b00_0000_0000, "EPT_WALK_FAILED"),
    (0xc000_0b01_0000_0000, "EPT_ENTRY_FREE"),
    (0xc000_0b02_0000_0000, "EPT_ENTRY_NOT_FREE"),
    (0xc000_0b03_0000_0000, "EPT_ENTRY_NOT_PRESENT"),
    (0xc000_0b0d_0000_0000, "EPT_ENTRY_STATE_INCORRECT"),
    (0xc000_0c00_0000_0000, "METADATA_FIELD_ID_INCORRECT"),
    (0xc000_0c01_0000_0000, "METADATA_FIELD_NOT_WRITABLE"),
    (0xc000_0c02_0000_0000, "METADATA_FIELD_NOT_READABLE"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_class_code_and_operand() {
        let text = |status: SeamcallStatus| status.to_string();
        let cpuid = SeamcallStatus(0xc000_0100_0000_0045);
        assert_eq!(
            text(cpuid),
            "0xc000010000000045, OPERAND_INVALID (invalid operand), operand CPUID_CONFIG"
        );
        assert!(cpuid.advice().contains("CPUID"));
        assert_eq!(cpuid, SeamcallStatus::OPERAND_INVALID.with_operand(Operand::CPUID_CONFIG));
        assert_eq!(
            text(SeamcallStatus(0x8000_0200_0000_0080)),
            "0x8000020000000080, OPERAND_BUSY (resource busy), operand TDR"
        );
        assert_eq!(
            text(SeamcallStatus(0x8000_0203_0000_0000)),
            "0x8000020300000000, RND_NO_ENTROPY (resource busy)"
        );
        assert_eq!(
            text(SeamcallStatus(0xc000_0100_0000_1234)),
            "0xc000010000001234, OPERAND_INVALID (invalid operand), operand 0x1234"
        );
        // Operand 0 is RAX.
        assert!(text(SeamcallStatus::OPERAND_INVALID).ends_with("operand RAX"));
        assert_eq!(
            text(SeamcallStatus(0xc000_ff77_0000_0000)),
            "0xc000ff7700000000, unknown to this version (unknown class)"
        );
    }

    #[test]
    fn what_may_pass_and_what_is_lost() {
        let flags = |status: u64| {
            let status = SeamcallStatus(status);
            (status.is_error(), status.may_pass(), status.is_lost())
        };
        assert_eq!(flags(0), (false, false, false));
        assert_eq!(flags(SeamcallStatus::OPERAND_BUSY.0), (true, true, false));
        assert_eq!(flags(SeamcallStatus::RND_NO_ENTROPY.0), (true, true, false));
        assert_eq!(flags(SeamcallStatus::OPERAND_INVALID.0), (true, false, false));
        assert_eq!(flags(0xe000_0604_0000_0000), (true, false, true));
        assert_eq!(flags(0x6000_0005_0000_0000), (true, false, true));
        // A success with something to say.
        assert_eq!(flags(0x0000_0815_0000_0000), (false, false, false));
    }

    #[test]
    fn names_are_the_codes_own() {
        for (at, (code, name)) in NAMES.iter().enumerate() {
            assert_eq!(SeamcallStatus(code | 7).name(), *name);
            assert_eq!(code & 0x0fff_0000_ffff_ffff, 0, "{name}: reserved bits and details are not the code");
            assert!(NAMES[..at].iter().all(|(other, _)| other != code), "{name} twice");
            assert_ne!(SeamcallStatus(*code).class(), "unknown class", "{name}");
        }
    }
}
