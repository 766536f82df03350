//! KVM's SEV-SNP ABI: the structs of `KVM_MEMORY_ENCRYPT_OP` (arch/x86/include/uapi/asm/kvm.h).
//!
//! Written out here and not taken from a crate, because a layout that is off by one byte still
//! launches a guest, with another identity; every size and offset is asserted at compile time.

use std::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use super::firmware_code::FirmwareCode;

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
