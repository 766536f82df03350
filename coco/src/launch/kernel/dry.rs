//! A kernel for dry runs: no descriptor of KVM's is opened. It answers the ioctls of a launch by KVM's
//! rules, as far as a launch can break them, with the simulated secure processor or TDX module beneath.
//! What it says of a launch is what these know; it is no proof that hardware would say the same.

use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};

use kvm_bindings::{
    KVM_CAP_EXIT_HYPERCALL, KVM_CAP_GUEST_MEMFD, KVM_CAP_MEMORY_ATTRIBUTES, KVM_CAP_SPLIT_IRQCHIP,
    KVM_CAP_VM_TYPES, KVM_CAP_X86_APIC_BUS_CYCLES_NS, KVM_MEMORY_ATTRIBUTE_PRIVATE,
};
use rustix::fs::MemfdFlags;

use super::dry_cpuid::supported_cpuid;
use super::dry_vcpus::DryVcpus;
use super::{Call, Errno, LaunchKernel, On};
use crate::launch::PlatformKind;
use crate::memory::{Converter, GuestRam, PAGE_SIZE, RamRange, SharedMemory, Target};
use crate::sim::{SimPsp, SimTdx, SnpPlatform, TdxPlatform};
use crate::snp::SevIoctl;
use crate::snp::abi::{CommandId, SevCmd};
use crate::tdx::TdxIoctl;

/// A kernel that is none.
pub struct DryKernel {
    vm_type: u64,
    /// Which pages are private, by the attributes that were set: not what the launcher keeps for itself.
    attributes: Converter,
    vcpus: Arc<DryVcpus>,
    beneath: Beneath,
    state: Mutex<State>,
}

/// What launches the guest beneath the ioctls.
enum Beneath {
    Nothing,
    Psp(Box<SimPsp>),
    Module(Box<SimTdx>),
}

#[derive(Default)]
struct State {
    made: bool,
    split_irqchip: bool,
    slots: Vec<RamRange>,
    /// The number of `/dev/sev` that KVM remembers from LAUNCH_START.
    sev_fd: Option<u32>,
    closed: bool,
}

/// VM types that a kernel with everything has: plain, software-protected, SNP, TDX.
const VM_TYPES: i32 = 1 | 1 << 1 | 1 << 4 | 1 << 5;

/// KVM_CAP_GUEST_MEMFD_FLAGS, and the flags MMAP and INIT_SHARED, which plain VMs take (Linux 6.18).
const KVM_CAP_GUEST_MEMFD_FLAGS: u32 = 244;
const MAPPED_AND_SHARED: i32 = 0b11;

/// KVM_X86_GRP_SEV and its attributes (arch/x86/include/uapi/asm/kvm.h), with what KVM 7.2 says: debug swap
/// and Secure TSC; policy bits 0 to 25 without the migration agent; certificates on request.
const GROUP_SEV: u32 = 1;
const SEV_ATTRIBUTES: [u64; 3] = [1 << 5 | 1 << 9, ((1 << 26) - 1) & !(1 << 18), 1];

impl DryKernel {
    /// A kernel under which a guest of this kind can be launched once, into `ram`.
    pub fn new(kind: PlatformKind, ram: GuestRam) -> std::io::Result<Self> {
        let memory = SharedMemory::new(ram.clone());
        let vcpus = Arc::new(DryVcpus::default());
        let beneath = match kind {
            PlatformKind::Snp => {
                // The dry processor is one of AMD's.
                let platform = SnpPlatform { cpuid_policy: true, ..SnpPlatform::default() };
                let psp = SimPsp::on(platform, ram, memory.clone(), Arc::clone(&vcpus) as _)?;
                Beneath::Psp(Box::new(psp))
            }
            PlatformKind::Tdx => {
                Beneath::Module(Box::new(SimTdx::new(ram, memory.clone(), TdxPlatform::default())))
            }
            PlatformKind::Protected | PlatformKind::Sim | PlatformKind::Off => Beneath::Nothing,
        };
        let attributes = Converter::plain(memory);
        Ok(DryKernel { vm_type: kind.vm_type(), attributes, vcpus, beneath, state: Mutex::default() })
    }

    /// The digest of what has arrived, if there is something beneath that computes one.
    pub fn digest(&self) -> Option<[u8; 48]> {
        match &self.beneath {
            Beneath::Nothing => None,
            Beneath::Psp(psp) => Some(psp.digest()),
            Beneath::Module(module) => Some(module.mrtd()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn on_system(&self, call: &mut Call<'_>) -> Result<i32, Errno> {
        match call {
            Call::GetApiVersion => Ok(12),
            Call::CheckExtension(cap) => Ok(self.extension(*cap)),
            Call::GetSupportedCpuid(table) => {
                let entries = supported_cpuid();
                let room = table.as_slice().len();
                **table = kvm_bindings::CpuId::from_entries(entries.get(..room).unwrap_or(&entries))
                    .map_err(|_| libc::E2BIG)?;
                Ok(0)
            }
            Call::GetDeviceAttr { group: GROUP_SEV, attr, value } if self.vm_type == 4 => {
                let index = usize::try_from(*attr).map_err(|_| libc::ENXIO)?;
                **value = *SEV_ATTRIBUTES.get(index).ok_or(libc::ENXIO)?;
                Ok(0)
            }
            Call::GetDeviceAttr { .. } => Err(libc::ENXIO),
            Call::CreateVm(vm_type) if *vm_type == self.vm_type => {
                let mut state = self.state();
                // Another VM would need another simulator beneath.
                if std::mem::replace(&mut state.made, true) { Err(libc::EBUSY) } else { Ok(0) }
            }
            _ => Err(libc::EINVAL),
        }
    }

    fn extension(&self, cap: u32) -> i32 {
        match cap {
            KVM_CAP_VM_TYPES => VM_TYPES,
            KVM_CAP_GUEST_MEMFD => 1,
            KVM_CAP_GUEST_MEMFD_FLAGS if self.vm_type == 0 => MAPPED_AND_SHARED,
            KVM_CAP_MEMORY_ATTRIBUTES if self.vm_type != 0 => KVM_MEMORY_ATTRIBUTE_PRIVATE as i32,
            _ => 0,
        }
    }

    fn on_vm(&self, call: &mut Call<'_>) -> Result<i32, Errno> {
        if !self.state().made {
            return Err(libc::EBADF);
        }
        match call {
            Call::CheckExtension(cap) => Ok(self.extension(*cap)),
            Call::SetTssAddr(_) | Call::SetIdentityMapAddr(_) => Ok(0),
            Call::EnableCap(cap) => self.enable(cap.cap, cap.args[0]),
            Call::CreateGuestMemfd(request) => self.guest_memfd(request.size, request.flags),
            Call::SetUserMemoryRegion(r) => self.slot(r.guest_phys_addr, r.memory_size, r.userspace_addr),
            Call::SetUserMemoryRegion2(r) => self.slot(r.guest_phys_addr, r.memory_size, r.userspace_addr),
            Call::SetMemoryAttributes(x) => {
                let known = x.attributes & !u64::from(KVM_MEMORY_ATTRIBUTE_PRIVATE) == 0;
                if self.vm_type == 0 || !known || x.flags != 0 {
                    return Err(libc::EINVAL);
                }
                let to = if x.attributes == 0 { Target::Shared } else { Target::Private };
                let whole = x.size.is_multiple_of(PAGE_SIZE);
                let done = self.attributes.convert(x.address, x.size / PAGE_SIZE, to);
                if whole { done.map(|()| 0).map_err(|_| libc::EINVAL) } else { Err(libc::EINVAL) }
            }
            Call::CreateVcpu(id) => {
                match &self.beneath {
                    Beneath::Module(module) => module.create_vcpu(*id)?,
                    // Without a local APIC in the kernel there is no such guest of ours.
                    _ if !self.state().split_irqchip => return Err(libc::EINVAL),
                    _ => {}
                }
                if let Beneath::Psp(psp) = &self.beneath {
                    psp.vcpu_created();
                }
                self.vcpus.add(*id).map(|()| 0)
            }
            Call::Sev(cmd) => self.sev(cmd),
            Call::Tdx(cmd) => match &self.beneath {
                Beneath::Module(module) => module.vm_op(cmd).map(|()| 0),
                _ => Err(libc::ENOTTY),
            },
            _ => Err(libc::EINVAL),
        }
    }

    fn enable(&self, cap: u32, argument: u64) -> Result<i32, Errno> {
        let mut state = self.state();
        match cap {
            KVM_CAP_EXIT_HYPERCALL if argument & !(1 << 12) != 0 => Err(libc::EINVAL),
            KVM_CAP_SPLIT_IRQCHIP if state.split_irqchip || self.vcpus.count() > 0 => Err(libc::EEXIST),
            KVM_CAP_SPLIT_IRQCHIP => {
                state.split_irqchip = true;
                if let Beneath::Module(module) = &self.beneath {
                    module.split_irqchip();
                }
                Ok(0)
            }
            KVM_CAP_X86_APIC_BUS_CYCLES_NS if !state.split_irqchip => Err(libc::ENXIO),
            KVM_CAP_X86_APIC_BUS_CYCLES_NS if self.vcpus.count() > 0 => Err(libc::EINVAL),
            _ => Ok(0),
        }
    }

    /// A file of ours in place of the kernel's.
    fn guest_memfd(&self, size: u64, flags: u64) -> Result<i32, Errno> {
        let legal = if self.vm_type == 0 { MAPPED_AND_SHARED } else { 0 };
        if flags != u64::from(legal.unsigned_abs()) || size == 0 || !size.is_multiple_of(PAGE_SIZE) {
            return Err(libc::EINVAL);
        }
        let made = rustix::fs::memfd_create("cloister-dry-gmem", MemfdFlags::CLOEXEC);
        let file = made.map_err(rustix::io::Errno::raw_os_error)?;
        rustix::fs::ftruncate(&file, size).map_err(rustix::io::Errno::raw_os_error)?;
        Ok(file.into_raw_fd())
    }

    fn slot(&self, start: u64, size: u64, host: u64) -> Result<i32, Errno> {
        let aligned = [start, size, host].iter().all(|x| x.is_multiple_of(PAGE_SIZE)) && size > 0;
        let end = start.checked_add(size).ok_or(libc::EINVAL)?;
        if !aligned {
            return Err(libc::EINVAL);
        }
        let mut state = self.state();
        if state.slots.iter().any(|s| s.start < end && start < s.end()) {
            return Err(libc::EEXIST);
        }
        state.slots.push(RamRange { start, size });
        Ok(0)
    }

    fn sev(&self, cmd: &mut SevCmd) -> Result<i32, Errno> {
        let Beneath::Psp(psp) = &self.beneath else { return Err(libc::ENOTTY) };
        let id = CommandId(cmd.id);
        // As KVM does it: the number is taken at LAUNCH_START and looked up again for each later command.
        let number = *self.state().sev_fd.get_or_insert(cmd.sev_fd);
        if !is_open(number) {
            return Err(libc::EBADF);
        }
        if id == CommandId::INIT2 {
            self.state().sev_fd = None;
        }
        psp.encrypt_op(cmd)?;
        if id == CommandId::LAUNCH_FINISH {
            self.vcpus.protect();
            self.state().closed = true;
        }
        Ok(0)
    }

    fn on_vcpu(&self, id: u32, call: &mut Call<'_>) -> Result<i32, Errno> {
        if let Beneath::Module(module) = &self.beneath {
            return match call {
                Call::Tdx(cmd) => module.vcpu_op(id, cmd).map(|()| 0),
                Call::SetCpuid2(table) => module.set_cpuid2(id, table.as_slice()).map(|()| 0),
                Call::PreFaultMemory(range) if module.finalized() => {
                    range.size = 0;
                    Ok(0)
                }
                Call::PreFaultMemory(_) => Err(libc::EOPNOTSUPP),
                // Registers and MSRs of a TD are the module's.
                _ => Err(libc::EINVAL),
            };
        }
        match call {
            Call::PreFaultMemory(_) if self.vm_type == 4 && !self.state().closed => Err(libc::EOPNOTSUPP),
            Call::PreFaultMemory(range) => {
                range.size = 0;
                Ok(0)
            }
            other => self.vcpus.call(id, other),
        }
    }
}

/// Whether a descriptor of this number is open in this process.
fn is_open(number: u32) -> bool {
    i32::try_from(number).is_ok_and(|fd| std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok())
}

impl LaunchKernel for DryKernel {
    fn call(&self, on: On, call: &mut Call<'_>) -> Result<i32, Errno> {
        match on {
            On::System => self.on_system(call),
            On::Vm => self.on_vm(call),
            On::Vcpu(id) => self.on_vcpu(id, call),
            On::Simulator => Err(libc::EBADF),
        }
    }

    /// An empty file in its place: it has a number of its own, which is all that a launch uses of it.
    fn open_sev(&self) -> std::io::Result<OwnedFd> {
        Ok(rustix::fs::memfd_create("cloister-dry-sev", MemfdFlags::CLOEXEC)?)
    }
}

#[cfg(test)]
#[path = "dry_tests.rs"]
mod tests;
