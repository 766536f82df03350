//! KVM's SEV-SNP ABI: the structs of `KVM_MEMORY_ENCRYPT_OP` (arch/x86/include/uapi/asm/kvm.h).
//!
//! Written out here and not taken from a crate, because a layout that is off by one byte still
//! launches a guest, with another identity; every size and offset is asserted at compile time.

use std::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `KVM_MEMORY_ENCRYPT_OP`: `_IOWR(KVMIO, 0xba, unsigned long)`.
pub const KVM_MEMORY_ENCRYPT_OP: u64 = 0xc008_aeba;

/// `enum sev_cmd_id`: the commands that an SNP launch uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandId(pub u32);

impl CommandId {
    /// `KVM_SEV_INIT2`
    pub const INIT2: Self = CommandId(22);
    /// `KVM_SEV_SNP_LAUNCH_START`
    pub const LAUNCH_START: Self = CommandId(100);
    /// `KVM_SEV_SNP_LAUNCH_UPDATE`
    pub const LAUNCH_UPDATE: Self = CommandId(101);
    /// `KVM_SEV_SNP_LAUNCH_FINISH`
    pub const LAUNCH_FINISH: Self = CommandId(102);
    /// `KVM_SEV_SNP_ENABLE_REQ_CERTS`
    pub const ENABLE_REQ_CERTS: Self = CommandId(103);

    /// The command's name in the kernel's header.
    pub fn name(self) -> &'static str {
        match self {
            Self::INIT2 => "SEV_INIT2",
            Self::LAUNCH_START => "SNP_LAUNCH_START",
            Self::LAUNCH_UPDATE => "SNP_LAUNCH_UPDATE",
            Self::LAUNCH_FINISH => "SNP_LAUNCH_FINISH",
            Self::ENABLE_REQ_CERTS => "SNP_ENABLE_REQ_CERTS",
            _ => "unknown SEV command",
        }
    }
}

/// `struct kvm_sev_cmd`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SevCmd {
    /// [`CommandId`].
    pub id: u32,
    /// Zero.
    pub pad0: u32,
    /// Address of the command's struct, or 0.
    pub data: u64,
    /// Out: the firmware's code.
    pub error: u32,
    /// `/dev/sev`, open at this very number for the VM's life.
    pub sev_fd: u32,
}

/// `struct kvm_sev_init`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Init {
    /// SEV features without SNP_ACTIVE.
    pub vmsa_features: u64,
    /// Zero.
    pub flags: u32,
    /// 0: KVM chooses 2.
    pub ghcb_version: u16,
    /// Zero.
    pub pad1: u16,
    /// Zero.
    pub pad2: [u32; 8],
}

/// `struct kvm_sev_snp_launch_start`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct LaunchStart {
    /// Guest policy.
    pub policy: u64,
    /// Guest OS visible workarounds.
    pub gosvw: [u8; 16],
    /// Zero.
    pub flags: u16,
    /// Zero.
    pub pad0: [u8; 6],
    /// Zero.
    pub pad1: [u64; 4],
}

/// `struct kvm_sev_snp_launch_update`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct LaunchUpdate {
    /// First guest frame; advanced by the kernel.
    pub gfn_start: u64,
    /// Source of the bytes in our memory; advanced by the kernel.
    pub uaddr: u64,
    /// Bytes left to do; reduced by the kernel.
    pub len: u64,
    /// [`PageType`].
    pub page_type: u8,
    /// Zero.
    pub pad0: u8,
    /// Zero.
    pub flags: u16,
    /// Zero.
    pub pad1: u32,
    /// Zero.
    pub pad2: [u64; 4],
}

/// `struct kvm_sev_snp_launch_finish`. `host_data` stands at the odd offset 19.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct LaunchFinish {
    /// Address of the 96-byte ID block, or 0.
    pub id_block_uaddr: u64,
    /// Address of the 4096-byte ID authentication page, or 0.
    pub id_auth_uaddr: u64,
    /// 1 if there is an ID block.
    pub id_block_en: u8,
    /// 1 if the ID block is signed with an author key too.
    pub auth_key_en: u8,
    /// 1 forbids reports signed with the VCEK.
    pub vcek_disabled: u8,
    /// HOST_DATA of the report.
    pub host_data: [u8; 32],
    /// Zero.
    pub pad0: [u8; 3],
    /// Zero.
    pub flags: u16,
    /// Zero.
    pub pad1: [u64; 4],
}

/// Page types of LAUNCH_UPDATE (`KVM_SEV_SNP_PAGE_TYPE_*`; 2, the VMSA, is KVM's own).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageType(pub u8);

impl PageType {
    /// Contents measured.
    pub const NORMAL: Self = PageType(1);
    /// A vCPU's state; only KVM adds it.
    pub const VMSA: Self = PageType(2);
    /// Zeros.
    pub const ZERO: Self = PageType(3);
    /// Contents loaded, not measured.
    pub const UNMEASURED: Self = PageType(4);
    /// Filled with secrets by the firmware.
    pub const SECRETS: Self = PageType(5);
    /// CPUID table, checked by the firmware.
    pub const CPUID: Self = PageType(6);
}

const _: () = {
    assert!(size_of::<SevCmd>() == 24);
    assert!(offset_of!(SevCmd, data) == 8);
    assert!(offset_of!(SevCmd, error) == 16);
    assert!(offset_of!(SevCmd, sev_fd) == 20);
    assert!(size_of::<Init>() == 48);
    assert!(offset_of!(Init, flags) == 8);
    assert!(offset_of!(Init, ghcb_version) == 12);
    assert!(size_of::<LaunchStart>() == 64);
    assert!(offset_of!(LaunchStart, flags) == 24);
    assert!(offset_of!(LaunchStart, pad1) == 32);
    assert!(size_of::<LaunchUpdate>() == 64);
    assert!(offset_of!(LaunchUpdate, page_type) == 24);
    assert!(offset_of!(LaunchUpdate, flags) == 26);
    assert!(size_of::<LaunchFinish>() == 88);
    assert!(offset_of!(LaunchFinish, vcek_disabled) == 18);
    assert!(offset_of!(LaunchFinish, host_data) == 19);
    assert!(offset_of!(LaunchFinish, flags) == 54);
    assert!(offset_of!(LaunchFinish, pad1) == 56);
};

impl PageType {
    /// The type's name in the kernel's header, without its prefix.
    pub fn name(self) -> &'static str {
        match self {
            Self::NORMAL => "NORMAL",
            Self::VMSA => "VMSA",
            Self::ZERO => "ZERO",
            Self::UNMEASURED => "UNMEASURED",
            Self::SECRETS => "SECRETS",
            Self::CPUID => "CPUID",
            _ => "unknown",
        }
    }
}

/// A firmware code of the PSP (include/uapi/linux/psp-sev.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirmwareCode(pub u32);

impl FirmwareCode {
    /// The kernel refused by itself.
    pub const NONE: Self = FirmwareCode(0);
    /// The guest's context is not in the state that the command wants.
    pub const INVALID_GUEST_STATE: Self = FirmwareCode(0x02);
    /// The policy asks for what this firmware or platform cannot give.
    pub const POLICY_FAILURE: Self = FirmwareCode(0x07);
    /// A signature does not verify.
    pub const BAD_SIGNATURE: Self = FirmwareCode(0x0a);
    /// The launch digest is not the one in the ID block.
    pub const BAD_MEASUREMENT: Self = FirmwareCode(0x0b);
    /// A parameter is wrong; for a CPUID page, the table was refused.
    pub const INVALID_PARAM: Self = FirmwareCode(0x16);
    /// The page is not in the state that the command wants.
    pub const INVALID_PAGE_STATE: Self = FirmwareCode(0x1a);

    /// The code's name in the kernel's header, without its prefix.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// What the code means and what the operator can do.
    pub fn explain(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> &'static (u32, &'static str, &'static str) {
        CODES.iter().find(|row| row.0 == self.0).unwrap_or(&UNKNOWN)
    }
}

const UNKNOWN: (u32, &str, &str) =
    (0, "unknown", "a code that this version does not know: see include/uapi/linux/psp-sev.h");

const BUG: &str = "the launch is not at this step: please report this, with --trace-launch's file";
const UPDATE: &str = "update the host's SEV firmware (linux-firmware, amd/amd_sev_fam*.sbin) or its BIOS";
const BOOT: &str =
    "SNP was not set up when the host booted: enable SEV-SNP and the RMP in its BIOS and reboot";
const BUSY: &str = "no ASID is free: stop another SEV guest, or raise the SEV-ES ASIDs in the BIOS";
const TRY_AGAIN: &str = "the host's firmware is not ready for this: try again, and see `dmesg | grep -i sev`";
const PAGE: &str = "the page is not the guest's to add: another guest or the host holds it; see dmesg";
const TIO: &str = "an answer for trusted devices, which no launch asks for: see dmesg";

/// Every code of `enum sev_ret_code` (coco.md 2.6): number, name, what to do.
static CODES: &[(u32, &str, &str)] = &[
    (
        0x00,
        "SUCCESS",
        "the kernel refused before asking the firmware (most often: a page that is not private, or added twice)",
    ),
    (0x01, "INVALID_PLATFORM_STATE", BOOT),
    (0x02, "INVALID_GUEST_STATE", BUG),
    (
        0x03,
        "INVALID_CONFIG",
        "the platform's configuration forbids this: compare policy= with `snphost show`",
    ),
    (0x04, "INVALID_LEN", BUG),
    (0x05, "ALREADY_OWNED", "the platform has an owner already: see `sevctl reset`"),
    (0x06, "INVALID_CERTIFICATE", "a certificate was refused: import the platform's anew (`snphost import`)"),
    (
        0x07,
        "POLICY_FAILURE",
        "the guest policy asks for what this host does not give: SMT, single socket, ABI version or debug; change policy=",
    ),
    (0x08, "INACTIVE", BUG),
    (0x09, "INVALID_ADDRESS", BUG),
    (
        0x0a,
        "BAD_SIGNATURE",
        "the ID block is not signed by the ID key, or that not by the author key: sign it again (`cloister measure --help`)",
    ),
    (
        0x0b,
        "BAD_MEASUREMENT",
        "the launch digest is not the one in the ID block: `cloister measure` prints what this guest measures to",
    ),
    (0x0c, "ASID_OWNED", BUSY),
    (0x0d, "INVALID_ASID", BUSY),
    (0x0e, "WBINVD_REQUIRED", TRY_AGAIN),
    (0x0f, "DFFLUSH_REQUIRED", TRY_AGAIN),
    (0x10, "INVALID_GUEST", BUG),
    (0x11, "INVALID_COMMAND", UPDATE),
    (0x12, "ACTIVE", BUG),
    (0x13, "HWSEV_RET_PLATFORM", "the hardware failed: see dmesg, and power the host off and on"),
    (0x14, "HWSEV_RET_UNSAFE", "the hardware cannot go on safely: power the host off and on"),
    (0x15, "UNSUPPORTED", UPDATE),
    (
        0x16,
        "INVALID_PARAM",
        "a parameter was refused; of a CPUID page, the table claims what this CPU does not have",
    ),
    (0x17, "RESOURCE_LIMIT", "no ASID or firmware memory is left: stop another confidential guest"),
    (0x18, "SECURE_DATA_INVALID", "the firmware's own data is damaged: reset the platform and reboot"),
    (0x19, "INVALID_PAGE_SIZE", PAGE),
    (
        0x1a,
        "INVALID_PAGE_STATE",
        "the page is already assigned to a guest: it was added twice, or the RMP holds it",
    ),
    (0x1b, "INVALID_MDATA_ENTRY", PAGE),
    (0x1c, "INVALID_PAGE_OWNER", PAGE),
    (0x1d, "AEAD_OFLOW", "the guest context's counter ran out: launch it anew"),
    (0x1f, "EXIT_RING_BUFFER", TRY_AGAIN),
    (0x20, "RMP_INIT_REQUIRED", BOOT),
    (0x21, "BAD_SVN", "the firmware is older than one that was committed before: update it"),
    (0x22, "BAD_VERSION", UPDATE),
    (0x23, "SHUTDOWN_REQUIRED", "stop all SEV guests and reload the kvm_amd module"),
    (0x24, "UPDATE_FAILED", UPDATE),
    (0x25, "RESTORE_REQUIRED", UPDATE),
    (0x26, "RMP_INITIALIZATION_FAILED", BOOT),
    (0x27, "INVALID_KEY", "a key was refused: ID and author keys are ECDSA P-384"),
    (0x28, "SHUTDOWN_INCOMPLETE", "stop all SEV guests and reload the kvm_amd module"),
    (0x30, "INCORRECT_BUFFER_LENGTH", BUG),
    (0x31, "EXPAND_BUFFER_LENGTH_REQUEST", TIO),
    (0x32, "SPDM_REQUEST", TIO),
    (0x33, "SPDM_ERROR", TIO),
    (0x35, "SEV_STATUS_ERR_IN_DEV_CONN", TIO),
    (0x36, "SEV_STATUS_INVALID_DEV_CTX", TIO),
    (0x37, "SEV_STATUS_INVALID_TDI_CTX", TIO),
    (0x38, "SEV_STATUS_INVALID_TDI", TIO),
    (0x39, "SEV_STATUS_RECLAIM_REQUIRED", TIO),
    (0x3a, "IN_USE", TIO),
    (0x3b, "SEV_STATUS_INVALID_DEV_STATE", TIO),
    (0x3c, "SEV_STATUS_INVALID_TDI_STATE", TIO),
    (0x3d, "SEV_STATUS_DEV_CERT_CHANGED", TIO),
    (0x3e, "SEV_STATUS_RESYNC_REQ", TIO),
    (0x3f, "SEV_STATUS_RESPONSE_TOO_LARGE", TIO),
    (
        0xffff_ffff,
        "NO_FW_CALL",
        "no firmware call was made: SEV is not initialised on this host; see `dmesg | grep -i ccp`",
    ),
];
