//! KVM's TDX ABI: the structs of `KVM_MEMORY_ENCRYPT_OP` on a TD (arch/x86/include/uapi/asm/kvm.h).
//!
//! Written out here because no crate has them right; every size and offset is asserted at compile time,
//! and compared with the kernel's own headers by the tests (`tests/tests/abi.rs`).
//!
//! Two of the structs end in a `struct kvm_cpuid2`, a count followed by that many entries. They stand here
//! with the count only; [`super::buffer::WithCpuid`] puts the entries behind it.

use std::mem::{offset_of, size_of};

use kvm_bindings::kvm_cpuid_entry2;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `KVM_X86_TDX_VM`, for `KVM_CREATE_VM`.
pub const KVM_X86_TDX_VM: u64 = 5;

/// Entries that KVM takes in one CPUID table (`KVM_MAX_CPUID_ENTRIES`, arch/x86/include/asm/kvm_host.h).
pub const MAX_CPUID_ENTRIES: u32 = 256;

/// `KVM_TDX_MEASURE_MEMORY_REGION`, a flag of INIT_MEM_REGION: the pages' bytes are measured too.
pub const MEASURE_MEMORY_REGION: u32 = 1;

/// `KVM_CPUID_FLAG_SIGNIFCANT_INDEX`: an entry answers for its own index only.
pub const SIGNIFICANT_INDEX: u32 = 1;

/// `enum kvm_tdx_cmd_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TdxCommandId(pub u32);

impl TdxCommandId {
    /// `KVM_TDX_CAPABILITIES`, on the VM: takes [`TdxCapabilities`] with entries.
    pub const CAPABILITIES: Self = TdxCommandId(0);
    /// `KVM_TDX_INIT_VM`, on the VM: takes [`TdxInitVm`] with entries.
    pub const INIT_VM: Self = TdxCommandId(1);
    /// `KVM_TDX_INIT_VCPU`, on a vCPU: `data` is not an address but the value that the vCPU starts with in
    /// RCX and R8.
    pub const INIT_VCPU: Self = TdxCommandId(2);
    /// `KVM_TDX_INIT_MEM_REGION`, on a vCPU: takes [`TdxInitMemRegion`].
    pub const INIT_MEM_REGION: Self = TdxCommandId(3);
    /// `KVM_TDX_FINALIZE_VM`, on the VM.
    pub const FINALIZE_VM: Self = TdxCommandId(4);
    /// `KVM_TDX_GET_CPUID`, on a vCPU: takes a [`CpuidHeader`] with entries.
    pub const GET_CPUID: Self = TdxCommandId(5);

    /// The command's name in the kernel's header, without `KVM_`.
    pub fn name(self) -> &'static str {
        match self {
            Self::CAPABILITIES => "TDX_CAPABILITIES",
            Self::INIT_VM => "TDX_INIT_VM",
            Self::INIT_VCPU => "TDX_INIT_VCPU",
            Self::INIT_MEM_REGION => "TDX_INIT_MEM_REGION",
            Self::FINALIZE_VM => "TDX_FINALIZE_VM",
            Self::GET_CPUID => "TDX_GET_CPUID",
            _ => "unknown TDX command",
        }
    }
}

/// `struct kvm_tdx_cmd`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct TdxCmd {
    /// [`TdxCommandId`].
    pub id: u32,
    /// Zero, but for INIT_MEM_REGION.
    pub flags: u32,
    /// Address of the command's struct, an immediate value (INIT_VCPU), or 0.
    pub data: u64,
    /// Zero on entry of every command, or KVM refuses it; out: the SEAMCALL status. KVM writes it back on
    /// failures that are worth another try as well.
    pub hw_error: u64,
}

/// `struct kvm_cpuid2` without its entries.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CpuidHeader {
    /// Number of entries behind it.
    pub nent: u32,
    /// Zero.
    pub padding: u32,
}

/// `struct kvm_cpuid_entry2`, with traits that the one of kvm-bindings lacks.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CpuidEntry {
    /// Leaf.
    pub function: u32,
    /// Subleaf.
    pub index: u32,
    /// [`SIGNIFICANT_INDEX`] or nothing.
    pub flags: u32,
    /// EAX of the answer; of a capability, the bits that may be set in it.
    pub eax: u32,
    /// EBX, likewise.
    pub ebx: u32,
    /// ECX, likewise.
    pub ecx: u32,
    /// EDX, likewise.
    pub edx: u32,
    /// Zero.
    pub padding: [u32; 3],
}

impl From<&kvm_cpuid_entry2> for CpuidEntry {
    fn from(e: &kvm_cpuid_entry2) -> Self {
        let &kvm_cpuid_entry2 { function, index, flags, eax, ebx, ecx, edx, .. } = e;
        CpuidEntry { function, index, flags, eax, ebx, ecx, edx, padding: [0; 3] }
    }
}

impl From<&CpuidEntry> for kvm_cpuid_entry2 {
    fn from(e: &CpuidEntry) -> Self {
        let &CpuidEntry { function, index, flags, eax, ebx, ecx, edx, .. } = e;
        kvm_cpuid_entry2 { function, index, flags, eax, ebx, ecx, edx, ..Default::default() }
    }
}

/// `struct kvm_tdx_capabilities`
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct TdxCapabilities {
    /// ATTRIBUTES bits that INIT_VM takes.
    pub supported_attrs: u64,
    /// XFAM bits that INIT_VM takes.
    pub supported_xfam: u64,
    /// GetTdVmCallInfo leaf 1, R11: calls that the kernel answers.
    pub kernel_tdvmcallinfo_1_r11: u64,
    /// The same: calls that we may say we answer.
    pub user_tdvmcallinfo_1_r11: u64,
    /// R12, calls that the kernel answers.
    pub kernel_tdvmcallinfo_1_r12: u64,
    /// R12, calls that we may say we answer.
    pub user_tdvmcallinfo_1_r12: u64,
    /// For later kernels.
    pub reserved: [u64; 250],
    /// The CPUID leaves that can be configured; entries follow, in: their room, out: their number.
    pub cpuid: CpuidHeader,
}

/// `struct kvm_tdx_init_vm`
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct TdxInitVm {
    /// ATTRIBUTES.
    pub attributes: u64,
    /// XFAM: the extended state that the guest has.
    pub xfam: u64,
    /// MRCONFIGID (`u64[6]` in the header: bytes, in their order).
    pub mrconfigid: [u8; 48],
    /// MROWNER.
    pub mrowner: [u8; 48],
    /// MROWNERCONFIG.
    pub mrownerconfig: [u8; 48],
    /// Zero.
    pub reserved: [u64; 12],
    /// The guest's CPUID where it can be configured; entries follow.
    pub cpuid: CpuidHeader,
}

/// `struct kvm_tdx_init_mem_region`. The kernel moves all three along as pages are done, on failure too.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct TdxInitMemRegion {
    /// Source of the bytes in our memory, page aligned.
    pub source_addr: u64,
    /// Guest-physical address, without the shared bit.
    pub gpa: u64,
    /// Pages left to do, each of 4096 bytes.
    pub nr_pages: u64,
}

const _: () = {
    assert!(size_of::<TdxCmd>() == 24);
    assert!(offset_of!(TdxCmd, id) == 0);
    assert!(offset_of!(TdxCmd, flags) == 4);
    assert!(offset_of!(TdxCmd, data) == 8);
    assert!(offset_of!(TdxCmd, hw_error) == 16);

    assert!(size_of::<CpuidHeader>() == 8);
    assert!(offset_of!(CpuidHeader, nent) == 0);
    assert!(offset_of!(CpuidHeader, padding) == 4);

    assert!(size_of::<CpuidEntry>() == size_of::<kvm_cpuid_entry2>());
    assert!(size_of::<CpuidEntry>() == 40);
    assert!(offset_of!(CpuidEntry, function) == 0);
    assert!(offset_of!(CpuidEntry, index) == 4);
    assert!(offset_of!(CpuidEntry, flags) == 8);
    assert!(offset_of!(CpuidEntry, eax) == 12);
    assert!(offset_of!(CpuidEntry, ebx) == 16);
    assert!(offset_of!(CpuidEntry, ecx) == 20);
    assert!(offset_of!(CpuidEntry, edx) == 24);
    assert!(offset_of!(CpuidEntry, padding) == 28);

    assert!(size_of::<TdxCapabilities>() == 2056);
    assert!(offset_of!(TdxCapabilities, supported_attrs) == 0);
    assert!(offset_of!(TdxCapabilities, supported_xfam) == 8);
    assert!(offset_of!(TdxCapabilities, kernel_tdvmcallinfo_1_r11) == 16);
    assert!(offset_of!(TdxCapabilities, user_tdvmcallinfo_1_r11) == 24);
    assert!(offset_of!(TdxCapabilities, kernel_tdvmcallinfo_1_r12) == 32);
    assert!(offset_of!(TdxCapabilities, user_tdvmcallinfo_1_r12) == 40);
    assert!(offset_of!(TdxCapabilities, reserved) == 48);
    assert!(offset_of!(TdxCapabilities, cpuid) == 2048);

    assert!(size_of::<TdxInitVm>() == 264);
    assert!(offset_of!(TdxInitVm, attributes) == 0);
    assert!(offset_of!(TdxInitVm, xfam) == 8);
    assert!(offset_of!(TdxInitVm, mrconfigid) == 16);
    assert!(offset_of!(TdxInitVm, mrowner) == 64);
    assert!(offset_of!(TdxInitVm, mrownerconfig) == 112);
    assert!(offset_of!(TdxInitVm, reserved) == 160);
    assert!(offset_of!(TdxInitVm, cpuid) == 256);

    assert!(size_of::<TdxInitMemRegion>() == 24);
    assert!(offset_of!(TdxInitMemRegion, source_addr) == 0);
    assert!(offset_of!(TdxInitMemRegion, gpa) == 8);
    assert!(offset_of!(TdxInitMemRegion, nr_pages) == 16);
};
