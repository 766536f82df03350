//! Doorbells: ioeventfds.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use cloister_devices::notify::DoorbellRegistry;
use kvm_bindings::{kvm_ioeventfd, kvm_ioeventfd_flag_nr_deassign};
use kvm_ioctls::VmFd;
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::ioctl_iow_nr;

/// Registers doorbells with KVM.
pub(crate) struct KvmDoorbells {
    vm: Arc<VmFd>,
}

ioctl_iow_nr!(KVM_IOEVENTFD, kvm_bindings::KVMIO, 0x79, kvm_ioeventfd);

impl KvmDoorbells {
    pub(crate) fn new(vm: Arc<VmFd>) -> Self {
        KvmDoorbells { vm }
    }

    /// A write of any length (`len` 0) at `address`.
    #[allow(unsafe_code, reason = "the crate's own call wants an EventFd by value, not a borrowed one")]
    fn ioeventfd(&self, address: u64, event: BorrowedFd<'_>, flags: u32) -> io::Result<()> {
        let request =
            kvm_ioeventfd { addr: address, len: 0, fd: event.as_raw_fd(), flags, ..Default::default() };
        // SAFETY: KVM_IOEVENTFD reads a struct kvm_ioeventfd, which `request` is, and keeps no pointer.
        let ret = unsafe { ioctl_with_ref(&*self.vm, KVM_IOEVENTFD(), &request) };
        if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl DoorbellRegistry for KvmDoorbells {
    fn register(&self, address: u64, event: BorrowedFd<'_>) -> io::Result<()> {
        self.ioeventfd(address, event, 0)
    }

    fn unregister(&self, address: u64, event: BorrowedFd<'_>) -> io::Result<()> {
        self.ioeventfd(address, event, 1 << kvm_ioeventfd_flag_nr_deassign)
    }
}
