//! The real kernel behind [`SevIoctl`].
#![allow(unsafe_code, reason = "KVM_MEMORY_ENCRYPT_OP hands the kernel pointers")]

use std::os::fd::AsRawFd;
use std::sync::Arc;

use kvm_ioctls::VmFd;

use super::SevIoctl;
use super::abi::{KVM_MEMORY_ENCRYPT_OP, SevCmd};

/// A VM of type SNP in the kernel.
#[derive(Debug)]
pub struct KvmSev {
    vm: Arc<VmFd>,
}

impl KvmSev {
    /// Speaks to `vm`.
    pub fn new(vm: Arc<VmFd>) -> Self {
        KvmSev { vm }
    }
}

impl SevIoctl for KvmSev {
    fn encrypt_op(&self, cmd: &mut SevCmd) -> Result<(), i32> {
        // SAFETY: `cmd` is a live struct of the layout the kernel reads and writes back; what its `data`
        // points to is, by SevIoctl's contract, a live struct of the command's own layout.
        let ret = unsafe { libc::ioctl(self.vm.as_raw_fd(), KVM_MEMORY_ENCRYPT_OP, std::ptr::from_mut(cmd)) };
        if ret == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)) }
    }
}
