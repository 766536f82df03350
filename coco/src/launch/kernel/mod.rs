//! The seam between a launch and KVM: every ioctl of a launch goes through [`Kernel`].
//!
//! ```text
//! launch steps ──▶ Kernel ──▶ trace, if one is asked for
//!                    └──────▶ LaunchKernel: KvmKernel (the kernel), DryKernel (rules and simulators,
//!                                           no descriptor of KVM's is opened)
//! ```

mod call;
mod decode;
mod decode_sev;
mod decode_tdx;
mod dry;
mod dry_cpuid;
mod dry_vcpus;
mod errno_name;
mod real;
mod trace;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, Msrs, kvm_create_guest_memfd, kvm_enable_cap, kvm_memory_attributes,
    kvm_pre_fault_memory, kvm_regs, kvm_sregs, kvm_userspace_memory_region, kvm_userspace_memory_region2,
};

use crate::snp::SevIoctl;
use crate::snp::abi::SevCmd;
use crate::tdx::TdxIoctl;
use crate::tdx::abi::TdxCmd;

pub use call::{Call, On};
pub use dry::DryKernel;
use errno_name::errno_name;
pub use real::KvmKernel;
pub use trace::Trace;

/// An error number (include/uapi/asm-generic/errno.h), positive.
pub type Errno = i32;

/// What a launch asks of KVM.
///
/// Contract: addresses inside the structs (memory of slots, data of SEV and TDX commands, and what they
/// point to) are live for as long as the kernel uses them: slots' memory for the VM's life, the rest for
/// the call. What KVM_CREATE_GUEST_MEMFD returns is a descriptor that the caller owns.
pub trait LaunchKernel: Send + Sync {
    /// One ioctl; what it returned.
    fn call(&self, on: On, call: &mut Call<'_>) -> Result<i32, Errno>;
    /// Opens `/dev/sev` for reading and writing: SEV commands carry its number.
    fn open_sev(&self) -> io::Result<OwnedFd>;
}

/// The kernel as a launch sees it. Cheap to clone; all clones speak to the same VM.
#[derive(Clone)]
pub struct Kernel {
    beneath: Arc<dyn LaunchKernel>,
    trace: Option<Arc<Trace>>,
}

impl Kernel {
    /// Speaks to `beneath`.
    pub fn new(beneath: Arc<dyn LaunchKernel>) -> Self {
        Kernel { beneath, trace: None }
    }

    /// The same, with everything written down in `trace`, if there is one.
    pub fn traced(self, trace: Option<Arc<Trace>>) -> Self {
        Kernel { trace, ..self }
    }

    /// One ioctl.
    fn call(&self, on: On, mut call: Call<'_>) -> io::Result<i32> {
        self.raw(on, &mut call).map_err(io::Error::from_raw_os_error)
    }

    fn raw(&self, on: On, call: &mut Call<'_>) -> Result<i32, Errno> {
        self.recorded(on, call, |call| self.beneath.call(on, call))
    }

    fn recorded(
        &self,
        on: On,
        call: &mut Call<'_>,
        make: impl FnOnce(&mut Call<'_>) -> Result<i32, Errno>,
    ) -> Result<i32, Errno> {
        match &self.trace {
            Some(trace) => trace.record(on, call, make),
            None => make(call),
        }
    }

    /// Opens `/dev/sev`.
    pub fn open_sev(&self) -> io::Result<OwnedFd> {
        self.beneath.open_sev()
    }

    /// KVM_GET_API_VERSION
    pub fn api_version(&self) -> io::Result<i32> {
        self.call(On::System, Call::GetApiVersion)
    }

    /// KVM_CHECK_EXTENSION on `/dev/kvm`.
    pub fn check_extension(&self, cap: u32) -> io::Result<u32> {
        self.call(On::System, Call::CheckExtension(cap)).map(i32::unsigned_abs)
    }

    /// KVM_CHECK_EXTENSION on the VM, whose answer may depend on its type.
    pub fn check_vm_extension(&self, cap: u32) -> io::Result<u32> {
        self.call(On::Vm, Call::CheckExtension(cap)).map(i32::unsigned_abs)
    }

    /// KVM_GET_SUPPORTED_CPUID
    pub fn supported_cpuid(&self) -> io::Result<CpuId> {
        let mut table =
            CpuId::new(KVM_MAX_CPUID_ENTRIES).map_err(|e| io::Error::other(format!("CPUID table: {e:?}")))?;
        self.call(On::System, Call::GetSupportedCpuid(&mut table))?;
        Ok(table)
    }

    /// KVM_GET_DEVICE_ATTR on `/dev/kvm`.
    pub fn system_attribute(&self, group: u32, attr: u64) -> io::Result<u64> {
        let mut value = 0;
        self.call(On::System, Call::GetDeviceAttr { group, attr, value: &mut value })?;
        Ok(value)
    }

    /// KVM_CREATE_VM. There is one VM behind a `Kernel`.
    pub fn create_vm(&self, vm_type: u64) -> io::Result<()> {
        self.call(On::System, Call::CreateVm(vm_type)).map(drop)
    }

    /// KVM_SET_TSS_ADDR
    pub fn set_tss_addr(&self, address: u64) -> io::Result<()> {
        self.call(On::Vm, Call::SetTssAddr(address)).map(drop)
    }

    /// KVM_SET_IDENTITY_MAP_ADDR
    pub fn set_identity_map_addr(&self, address: u64) -> io::Result<()> {
        self.call(On::Vm, Call::SetIdentityMapAddr(&address)).map(drop)
    }

    /// KVM_ENABLE_CAP on the VM, with one argument.
    pub fn enable_cap(&self, cap: u32, argument: u64) -> io::Result<()> {
        let request = kvm_enable_cap { cap, args: [argument, 0, 0, 0], ..Default::default() };
        self.call(On::Vm, Call::EnableCap(&request)).map(drop)
    }

    /// KVM_CREATE_GUEST_MEMFD: a file of `size` bytes of private memory, closed on exec (which the kernel
    /// leaves to us).
    #[allow(unsafe_code, reason = "a descriptor that the kernel returned is taken over")]
    pub fn create_guest_memfd(&self, size: u64, flags: u64) -> io::Result<OwnedFd> {
        let request = kvm_create_guest_memfd { size, flags, ..Default::default() };
        let fd = self.call(On::Vm, Call::CreateGuestMemfd(&request))?;
        // SAFETY: LaunchKernel's contract: the descriptor is fresh and ours.
        let fd = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) };
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
        Ok(fd)
    }

    /// KVM_SET_USER_MEMORY_REGION. The memory behind it lives as long as the VM.
    pub fn set_user_memory_region(&self, region: &kvm_userspace_memory_region) -> io::Result<()> {
        self.call(On::Vm, Call::SetUserMemoryRegion(region)).map(drop)
    }

    /// KVM_SET_USER_MEMORY_REGION2. The memory behind it lives as long as the VM.
    pub fn set_user_memory_region2(&self, region: &kvm_userspace_memory_region2) -> io::Result<()> {
        self.call(On::Vm, Call::SetUserMemoryRegion2(region)).map(drop)
    }

    /// KVM_SET_MEMORY_ATTRIBUTES for `[address, address + size)`.
    pub fn set_memory_attributes(&self, address: u64, size: u64, attributes: u64) -> io::Result<()> {
        let request = kvm_memory_attributes { address, size, attributes, flags: 0 };
        self.call(On::Vm, Call::SetMemoryAttributes(&request)).map(drop)
    }

    /// KVM_CREATE_VCPU. Ids count up from 0.
    pub fn create_vcpu(&self, id: u32) -> io::Result<()> {
        self.call(On::Vm, Call::CreateVcpu(id)).map(drop)
    }

    /// KVM_SET_CPUID2
    pub fn set_cpuid2(&self, vcpu: u32, table: &CpuId) -> io::Result<()> {
        self.call(On::Vcpu(vcpu), Call::SetCpuid2(table)).map(drop)
    }

    /// KVM_SET_MSRS; how many were set, from the first on.
    pub fn set_msrs(&self, vcpu: u32, msrs: &Msrs) -> io::Result<usize> {
        let done = self.call(On::Vcpu(vcpu), Call::SetMsrs(msrs))?;
        Ok(done.unsigned_abs() as usize)
    }

    /// KVM_GET_SREGS
    pub fn sregs(&self, vcpu: u32) -> io::Result<kvm_sregs> {
        let mut sregs = kvm_sregs::default();
        self.call(On::Vcpu(vcpu), Call::GetSregs(&mut sregs))?;
        Ok(sregs)
    }

    /// KVM_SET_SREGS
    pub fn set_sregs(&self, vcpu: u32, sregs: &kvm_sregs) -> io::Result<()> {
        self.call(On::Vcpu(vcpu), Call::SetSregs(sregs)).map(drop)
    }

    /// KVM_GET_REGS
    pub fn regs(&self, vcpu: u32) -> io::Result<kvm_regs> {
        let mut regs = kvm_regs::default();
        self.call(On::Vcpu(vcpu), Call::GetRegs(&mut regs))?;
        Ok(regs)
    }

    /// KVM_SET_REGS
    pub fn set_regs(&self, vcpu: u32, regs: &kvm_regs) -> io::Result<()> {
        self.call(On::Vcpu(vcpu), Call::SetRegs(regs)).map(drop)
    }

    /// KVM_PRE_FAULT_MEMORY, once: what the kernel did is taken off `range`.
    pub fn pre_fault_memory(&self, vcpu: u32, range: &mut kvm_pre_fault_memory) -> io::Result<()> {
        self.call(On::Vcpu(vcpu), Call::PreFaultMemory(range)).map(drop)
    }

    /// A command for the simulated secure processor `psp`, which stands beside the kernel and not in it.
    pub(crate) fn simulated<'a>(&'a self, psp: &'a dyn SevIoctl) -> impl SevIoctl + 'a {
        Beside { kernel: self, psp }
    }
}

/// The simulated secure processor, and the kernel that it stands beside.
struct Beside<'a> {
    kernel: &'a Kernel,
    psp: &'a dyn SevIoctl,
}

impl SevIoctl for Beside<'_> {
    fn encrypt_op(&self, cmd: &mut SevCmd) -> Result<(), Errno> {
        let make = |call: &mut Call<'_>| match call {
            Call::Sev(cmd) => self.psp.encrypt_op(cmd).map(|()| 0),
            _ => Err(libc::EINVAL),
        };
        self.kernel.recorded(On::Simulator, &mut Call::Sev(cmd), make).map(drop)
    }
}

/// SEV commands to the kernel.
impl SevIoctl for Kernel {
    fn encrypt_op(&self, cmd: &mut SevCmd) -> Result<(), Errno> {
        self.raw(On::Vm, &mut Call::Sev(cmd)).map(drop)
    }
}

/// TDX commands to the kernel.
impl TdxIoctl for Kernel {
    fn vm_op(&self, cmd: &mut TdxCmd) -> Result<(), Errno> {
        self.raw(On::Vm, &mut Call::Tdx(cmd)).map(drop)
    }

    fn vcpu_op(&self, vcpu: u32, cmd: &mut TdxCmd) -> Result<(), Errno> {
        self.raw(On::Vcpu(vcpu), &mut Call::Tdx(cmd)).map(drop)
    }
}
