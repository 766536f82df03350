//! The ioctls of a launch, as values: what is asked, of which descriptor, and under which number.
//!
//! Numbers and structs are those of include/uapi/linux/kvm.h and arch/x86/include/uapi/asm/kvm.h.

use std::mem::size_of;

use kvm_bindings::{
    CpuId, Msrs, kvm_cpuid2, kvm_create_guest_memfd, kvm_device_attr, kvm_enable_cap, kvm_memory_attributes,
    kvm_msrs, kvm_pre_fault_memory, kvm_regs, kvm_sregs, kvm_userspace_memory_region,
    kvm_userspace_memory_region2,
};

use crate::snp::abi::SevCmd;
use crate::tdx::abi::TdxCmd;

/// The descriptor that an ioctl is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// `/dev/kvm`.
    System,
    /// The VM.
    Vm,
    /// The vCPU with this id.
    Vcpu(u32),
    /// No descriptor: the simulated secure processor beneath a VM that has none.
    Simulator,
}

impl std::fmt::Display for On {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            On::System => f.write_str("kvm"),
            On::Vm => f.write_str("vm"),
            On::Vcpu(id) => write!(f, "vcpu{id}"),
            On::Simulator => f.write_str("simulator"),
        }
    }
}

/// One ioctl with its argument.
pub enum Call<'a> {
    /// Which KVM this is; 12 for ever.
    GetApiVersion,
    /// Whether, or how much of, a capability is there.
    CheckExtension(u32),
    /// The CPUID leaves that KVM supports; the buffer's length is how many fit.
    GetSupportedCpuid(&'a mut CpuId),
    /// A system attribute.
    GetDeviceAttr {
        /// Group of attributes.
        group: u32,
        /// Which of the group.
        attr: u64,
        /// Out: its value.
        value: &'a mut u64,
    },
    /// Makes the VM, of this type.
    CreateVm(u64),
    /// Three pages that KVM on Intel needs for real mode.
    SetTssAddr(u64),
    /// One page more that it needs there.
    SetIdentityMapAddr(&'a u64),
    /// Switches a capability on.
    EnableCap(&'a kvm_enable_cap),
    /// Makes a file of private memory.
    CreateGuestMemfd(&'a kvm_create_guest_memfd),
    /// Sets up a memory slot.
    SetUserMemoryRegion(&'a kvm_userspace_memory_region),
    /// Sets up a memory slot with a private side.
    SetUserMemoryRegion2(&'a kvm_userspace_memory_region2),
    /// Says which guest pages are private.
    SetMemoryAttributes(&'a kvm_memory_attributes),
    /// Makes a vCPU with this id.
    CreateVcpu(u32),
    /// Sets a vCPU's CPUID table.
    SetCpuid2(&'a CpuId),
    /// Sets model-specific registers.
    SetMsrs(&'a Msrs),
    /// Reads system registers.
    GetSregs(&'a mut kvm_sregs),
    /// Sets system registers.
    SetSregs(&'a kvm_sregs),
    /// Reads general registers.
    GetRegs(&'a mut kvm_regs),
    /// Sets general registers.
    SetRegs(&'a kvm_regs),
    /// A SEV command.
    Sev(&'a mut SevCmd),
    /// A TDX command.
    Tdx(&'a mut TdxCmd),
    /// Maps guest memory before the guest touches it.
    PreFaultMemory(&'a mut kvm_pre_fault_memory),
}

/// `_IO(KVMIO, nr)`
const fn io(nr: u64) -> u64 {
    0xae << 8 | nr
}

/// `_IOW(KVMIO, nr, T)`
const fn iow<T>(nr: u64) -> u64 {
    1 << 30 | (size_of::<T>() as u64) << 16 | io(nr)
}

/// `_IOR(KVMIO, nr, T)`
const fn ior<T>(nr: u64) -> u64 {
    2 << 30 | (size_of::<T>() as u64) << 16 | io(nr)
}

/// `_IOWR(KVMIO, nr, T)`
const fn iowr<T>(nr: u64) -> u64 {
    3 << 30 | (size_of::<T>() as u64) << 16 | io(nr)
}

impl Call<'_> {
    /// The request number that the kernel knows it by.
    pub fn number(&self) -> u64 {
        match self {
            Call::GetApiVersion => io(0x00),
            Call::CreateVm(_) => io(0x01),
            Call::CheckExtension(_) => io(0x03),
            Call::GetSupportedCpuid(_) => iowr::<kvm_cpuid2>(0x05),
            Call::CreateVcpu(_) => io(0x41),
            Call::SetUserMemoryRegion(_) => iow::<kvm_userspace_memory_region>(0x46),
            Call::SetTssAddr(_) => io(0x47),
            Call::SetIdentityMapAddr(_) => iow::<u64>(0x48),
            Call::SetUserMemoryRegion2(_) => iow::<kvm_userspace_memory_region2>(0x49),
            Call::GetRegs(_) => ior::<kvm_regs>(0x81),
            Call::SetRegs(_) => iow::<kvm_regs>(0x82),
            Call::GetSregs(_) => ior::<kvm_sregs>(0x83),
            Call::SetSregs(_) => iow::<kvm_sregs>(0x84),
            Call::SetMsrs(_) => iow::<kvm_msrs>(0x89),
            Call::SetCpuid2(_) => iow::<kvm_cpuid2>(0x90),
            Call::EnableCap(_) => iow::<kvm_enable_cap>(0xa3),
            Call::Sev(_) | Call::Tdx(_) => iowr::<libc::c_ulong>(0xba),
            Call::SetMemoryAttributes(_) => iow::<kvm_memory_attributes>(0xd2),
            Call::CreateGuestMemfd(_) => iowr::<kvm_create_guest_memfd>(0xd4),
            Call::PreFaultMemory(_) => iowr::<kvm_pre_fault_memory>(0xd5),
            Call::GetDeviceAttr { .. } => iow::<kvm_device_attr>(0xe2),
        }
    }

    /// Its name in the kernel's header.
    pub fn name(&self) -> &'static str {
        match self {
            Call::GetApiVersion => "KVM_GET_API_VERSION",
            Call::CreateVm(_) => "KVM_CREATE_VM",
            Call::CheckExtension(_) => "KVM_CHECK_EXTENSION",
            Call::GetSupportedCpuid(_) => "KVM_GET_SUPPORTED_CPUID",
            Call::CreateVcpu(_) => "KVM_CREATE_VCPU",
            Call::SetUserMemoryRegion(_) => "KVM_SET_USER_MEMORY_REGION",
            Call::SetTssAddr(_) => "KVM_SET_TSS_ADDR",
            Call::SetIdentityMapAddr(_) => "KVM_SET_IDENTITY_MAP_ADDR",
            Call::SetUserMemoryRegion2(_) => "KVM_SET_USER_MEMORY_REGION2",
            Call::GetRegs(_) => "KVM_GET_REGS",
            Call::SetRegs(_) => "KVM_SET_REGS",
            Call::GetSregs(_) => "KVM_GET_SREGS",
            Call::SetSregs(_) => "KVM_SET_SREGS",
            Call::SetMsrs(_) => "KVM_SET_MSRS",
            Call::SetCpuid2(_) => "KVM_SET_CPUID2",
            Call::EnableCap(_) => "KVM_ENABLE_CAP",
            Call::Sev(_) | Call::Tdx(_) => "KVM_MEMORY_ENCRYPT_OP",
            Call::SetMemoryAttributes(_) => "KVM_SET_MEMORY_ATTRIBUTES",
            Call::CreateGuestMemfd(_) => "KVM_CREATE_GUEST_MEMFD",
            Call::PreFaultMemory(_) => "KVM_PRE_FAULT_MEMORY",
            Call::GetDeviceAttr { .. } => "KVM_GET_DEVICE_ATTR",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers as the kernel's header has them compiled (coco.md 1.4; the older ones by strace's
    /// tables).
    #[test]
    fn numbers_are_the_kernels() {
        let mut cpuid = CpuId::new(1).unwrap();
        let (mut regs, mut sregs) = (kvm_regs::default(), kvm_sregs::default());
        let msrs = Msrs::new(1).unwrap();
        let table = CpuId::new(1).unwrap();
        for (call, number) in [
            (Call::GetApiVersion, 0xae00),
            (Call::CreateVm(0), 0xae01),
            (Call::CheckExtension(0), 0xae03),
            (Call::GetSupportedCpuid(&mut cpuid), 0xc008_ae05),
            (Call::CreateVcpu(0), 0xae41),
            (Call::SetUserMemoryRegion(&Default::default()), 0x4020_ae46),
            (Call::SetTssAddr(0), 0xae47),
            (Call::SetIdentityMapAddr(&0), 0x4008_ae48),
            (Call::SetUserMemoryRegion2(&Default::default()), 0x40a0_ae49),
            (Call::GetRegs(&mut regs), 0x8090_ae81),
            (Call::SetRegs(&kvm_regs::default()), 0x4090_ae82),
            (Call::GetSregs(&mut sregs), 0x8138_ae83),
            (Call::SetSregs(&kvm_sregs::default()), 0x4138_ae84),
            (Call::SetMsrs(&msrs), 0x4008_ae89),
            (Call::SetCpuid2(&table), 0x4008_ae90),
            (Call::EnableCap(&Default::default()), 0x4068_aea3),
            (Call::Sev(&mut SevCmd::default()), 0xc008_aeba),
            (Call::Tdx(&mut TdxCmd::default()), 0xc008_aeba),
            (Call::SetMemoryAttributes(&Default::default()), 0x4020_aed2),
            (Call::CreateGuestMemfd(&Default::default()), 0xc040_aed4),
            (Call::PreFaultMemory(&mut Default::default()), 0xc040_aed5),
            (Call::GetDeviceAttr { group: 0, attr: 0, value: &mut 0 }, 0x4018_aee2),
        ] {
            assert_eq!(call.number(), number, "{}", call.name());
        }
    }
}
