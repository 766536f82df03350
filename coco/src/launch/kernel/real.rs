//! The kernel itself behind the seam.
#![allow(unsafe_code, reason = "ioctls hand the kernel pointers and get descriptors back")]

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use kvm_bindings::kvm_device_attr;
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use rustix::fs::{Mode, OFlags};

use super::{Call, Errno, LaunchKernel, On};

/// KVM, and in it one VM with its vCPUs once they have been made.
pub struct KvmKernel {
    kvm: Arc<Kvm>,
    vm: OnceLock<Arc<VmFd>>,
    vcpus: Mutex<Vec<VcpuFd>>,
}

impl KvmKernel {
    /// Speaks to `kvm`; there is no VM yet.
    pub fn new(kvm: Arc<Kvm>) -> Self {
        KvmKernel { kvm, vm: OnceLock::new(), vcpus: Mutex::default() }
    }

    /// The VM, once it has been made.
    pub fn vm(&self) -> Option<&Arc<VmFd>> {
        self.vm.get()
    }

    /// Takes all vCPUs, in the order in which they were made. No ioctl can be asked of them here any more.
    pub fn take_vcpus(&self) -> Vec<VcpuFd> {
        std::mem::take(&mut *self.vcpus())
    }

    fn vcpus(&self) -> MutexGuard<'_, Vec<VcpuFd>> {
        self.vcpus.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn fd(&self, on: On) -> Result<RawFd, Errno> {
        match on {
            On::System => Ok(self.kvm.as_raw_fd()),
            On::Vm => self.vm.get().map(|vm| vm.as_raw_fd()).ok_or(libc::EBADF),
            On::Vcpu(id) => self.vcpus().get(id as usize).map(AsRawFd::as_raw_fd).ok_or(libc::EBADF),
            On::Simulator => Err(libc::EBADF),
        }
    }

    /// Takes over a descriptor that an ioctl made.
    fn adopt(&self, call: &Call<'_>, fd: i32) -> Result<(), Errno> {
        match call {
            Call::CreateVm(_) => {
                // SAFETY: KVM_CREATE_VM returned `fd` just now, and nobody else owns it.
                let vm = unsafe { self.kvm.create_vmfd_from_rawfd(fd) }.map_err(|e| e.errno())?;
                self.vm.set(Arc::new(vm)).map_err(|_| libc::EEXIST)
            }
            Call::CreateVcpu(_) => {
                let vm = self.vm.get().ok_or(libc::EBADF)?;
                // SAFETY: KVM_CREATE_VCPU of this VM returned `fd` just now, and nobody else owns it.
                let vcpu = unsafe { vm.create_vcpu_from_rawfd(fd) }.map_err(|e| e.errno())?;
                self.vcpus().push(vcpu);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl LaunchKernel for KvmKernel {
    fn call(&self, on: On, call: &mut Call<'_>) -> Result<i32, Errno> {
        let fd = self.fd(on)?;
        if matches!(call, Call::CreateVcpu(id) if *id as usize != self.vcpus().len()) {
            // A vCPU is found by its place here.
            return Err(libc::EINVAL);
        }
        let number = call.number();
        let mut attribute = kvm_device_attr::default();
        let argument = match call {
            Call::GetApiVersion => 0,
            Call::CheckExtension(cap) => u64::from(*cap),
            Call::CreateVm(x) | Call::SetTssAddr(x) => *x,
            Call::CreateVcpu(id) => u64::from(*id),
            Call::GetSupportedCpuid(x) => x.as_mut_fam_struct_ptr() as u64,
            Call::GetDeviceAttr { group, attr, value } => {
                attribute.group = *group;
                attribute.attr = *attr;
                attribute.addr = std::ptr::from_mut(*value) as u64;
                &raw const attribute as u64
            }
            Call::SetIdentityMapAddr(x) => std::ptr::from_ref(*x) as u64,
            Call::EnableCap(x) => std::ptr::from_ref(*x) as u64,
            Call::CreateGuestMemfd(x) => std::ptr::from_ref(*x) as u64,
            Call::SetUserMemoryRegion(x) => std::ptr::from_ref(*x) as u64,
            Call::SetUserMemoryRegion2(x) => std::ptr::from_ref(*x) as u64,
            Call::SetMemoryAttributes(x) => std::ptr::from_ref(*x) as u64,
            Call::SetCpuid2(x) => x.as_fam_struct_ptr() as u64,
            Call::SetMsrs(x) => x.as_fam_struct_ptr() as u64,
            Call::GetSregs(x) => std::ptr::from_mut(*x) as u64,
            Call::SetSregs(x) => std::ptr::from_ref(*x) as u64,
            Call::GetRegs(x) => std::ptr::from_mut(*x) as u64,
            Call::SetRegs(x) => std::ptr::from_ref(*x) as u64,
            Call::Sev(x) => std::ptr::from_mut(*x) as u64,
            Call::Tdx(x) => std::ptr::from_mut(*x) as u64,
            Call::PreFaultMemory(x) => std::ptr::from_mut(*x) as u64,
        };
        // SAFETY: `argument` is the value, or the address of the live struct, that the request of this
        // number takes; structs that the kernel writes are mutable, and what lies behind the pointers in
        // them is, by LaunchKernel's contract, live for as long as the kernel wants it.
        let ret = unsafe { libc::ioctl(fd, number, argument) };
        if ret < 0 {
            return Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO));
        }
        self.adopt(call, ret)?;
        Ok(ret)
    }

    fn open_sev(&self) -> std::io::Result<OwnedFd> {
        Ok(rustix::fs::open("/dev/sev", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
    }
}
