//! What `/dev/kvm` says.
#![allow(unsafe_code, reason = "KVM_GET_DEVICE_ATTR hands the kernel pointers")]

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use kvm_bindings::kvm_device_attr;
use kvm_ioctls::Kvm;

use super::{answer, hex};
use crate::doctor::answer::{self, Answer, CAPABILITIES, TdxCapabilities, VM_TYPES};
use crate::launch::{Kernel, KvmKernel};
use crate::tdx::{TdxLaunch, TdxLaunchError};

/// KVM_GET_DEVICE_ATTR: `_IOW(0xae, 0xe2, struct kvm_device_attr)`, 24 bytes.
const KVM_GET_DEVICE_ATTR: libc::c_ulong = 0x4018_aee2;
/// KVM_X86_GRP_SEV, and its attributes: VMSA features, policy bits, certificate requests
/// (arch/x86/include/uapi/asm/kvm.h).
const GROUP_SEV: u32 = 1;
const SEV_ATTRIBUTES: std::ops::Range<u64> = 0..3;
/// KVM_X86_TDX_VM.
const TDX_VM: u32 = 5;

pub(super) fn ask() -> Answer<answer::Kvm> {
    let kvm = match Kvm::new() {
        Ok(kvm) => kvm,
        Err(error) => return Answer::Errno(error.errno()),
    };
    let ask = |check: &dyn Fn(u64) -> i32| -> BTreeMap<_, _> {
        CAPABILITIES.iter().map(|(name, number)| ((*name).to_owned(), check(*number))).collect()
    };
    let system = ask(&|number| kvm.check_extension_raw(number));
    let offered = system.get("vm_types").copied().unwrap_or(0);
    let vms = VM_TYPES
        .iter()
        .filter(|(_, number)| *number == 0 || offered & 1 << number != 0)
        .map(|(name, number)| {
            // The answers depend on the type of the VM.
            let vm = match kvm.create_vm_with_type((*number).into()) {
                Ok(vm) => Answer::Value(ask(&|number| vm.check_extension_raw(number))),
                Err(error) => Answer::Errno(error.errno()),
            };
            ((*name).to_owned(), vm)
        })
        .collect();
    let sev_attributes = SEV_ATTRIBUTES.map(|number| (number.to_string(), attribute(&kvm, number))).collect();
    let tdx_capabilities = match offered & 1 << TDX_VM {
        0 => Answer::NotAsked,
        _ => tdx_capabilities(),
    };
    let api = kvm.get_api_version();
    Answer::Value(answer::Kvm { api, system, vms, sev_attributes, tdx_capabilities })
}

/// Only a VM of that type can answer.
fn tdx_capabilities() -> Answer<TdxCapabilities> {
    let kernel = match Kvm::new() {
        Ok(kvm) => Kernel::new(Arc::new(KvmKernel::new(Arc::new(kvm)))),
        Err(error) => return Answer::Errno(error.errno()),
    };
    if let Err(error) = kernel.create_vm(TDX_VM.into()) {
        return Answer::from(Err(error));
    }
    match TdxLaunch::new(&kernel).capabilities() {
        Ok(capabilities) => Answer::Value(TdxCapabilities {
            attributes: hex(capabilities.attributes),
            xfam: hex(capabilities.xfam),
            cpuid_leaves: capabilities.cpuid.len(),
        }),
        Err(TdxLaunchError::Command { errno, .. }) => Answer::Errno(errno),
        Err(_) => Answer::Errno(libc::EPROTO),
    }
}

fn attribute(kvm: &Kvm, attr: u64) -> Answer<String> {
    let mut value = 0u64;
    let addr = std::ptr::from_mut(&mut value).expose_provenance() as u64;
    let request = kvm_device_attr { flags: 0, group: GROUP_SEV, attr, addr };
    // SAFETY: `request` is a live struct of the layout that the kernel reads, and `addr` the address of eight
    // live, writable bytes, which is what every attribute of this group is (Documentation/virt/kvm/x86).
    let ret = unsafe { libc::ioctl(kvm.as_raw_fd(), KVM_GET_DEVICE_ATTR, std::ptr::from_ref(&request)) };
    answer(ret).map(|_| hex(value))
}
