//! KVM's TDX ABI: the structs of `KVM_MEMORY_ENCRYPT_OP` on a TD (arch/x86/include/uapi/asm/kvm.h).

use std::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `enum kvm_tdx_cmd_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TdxCommandId(pub u32);

impl TdxCommandId {
    /// `KVM_TDX_CAPABILITIES`
    pub const CAPABILITIES: Self = TdxCommandId(0);
    /// `KVM_TDX_INIT_VM`
    pub const INIT_VM: Self = TdxCommandId(1);
    /// `KVM_TDX_INIT_VCPU`
    pub const INIT_VCPU: Self = TdxCommandId(2);
    /// `KVM_TDX_INIT_MEM_REGION`
    pub const INIT_MEM_REGION: Self = TdxCommandId(3);
    /// `KVM_TDX_FINALIZE_VM`
    pub const FINALIZE_VM: Self = TdxCommandId(4);
    /// `KVM_TDX_GET_CPUID`
    pub const GET_CPUID: Self = TdxCommandId(5);
}

/// `struct kvm_tdx_cmd`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct TdxCmd {
    /// [`TdxCommandId`].
    pub id: u32,
    /// Zero, but for INIT_MEM_REGION.
    pub flags: u32,
    /// Address of the command's struct, an immediate value (INIT_VCPU), or 0.
    pub data: u64,
    /// Zero on entry of every command; out: the SEAMCALL status.
    pub hw_error: u64,
}

const _: () = {
    assert!(size_of::<TdxCmd>() == 24);
    assert!(offset_of!(TdxCmd, data) == 8);
    assert!(offset_of!(TdxCmd, hw_error) == 16);
};
