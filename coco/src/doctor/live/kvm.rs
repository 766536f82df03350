//! What `/dev/kvm` says.
#![allow(unsafe_code, reason = "KVM_GET_DEVICE_ATTR hands the kernel pointers")]

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;

use kvm_bindings::kvm_device_attr;
use kvm_ioctls::Kvm;

use super::{answer, hex};
use crate::doctor::answer::{self, Answer, CAPABILITIES, VM_TYPES};

/// KVM_GET_DEVICE_ATTR: `_IOW(0xae, 0xe2, struct kvm_device_attr)`, 24 bytes.
const KVM_GET_DEVICE_ATTR: libc::c_ulong = 0x4018_aee2;
/// KVM_X86_GRP_SEV, and its attributes: VMSA features, policy bits, certificate requests
/// (arch/x86/include/uapi/asm/kvm.h).
const GROUP_SEV: u32 = 1;
const SEV_ATTRIBUTES: std::ops::Range<u64> = 0..3;

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
    Answer::Value(answer::Kvm { api: kvm.get_api_version(), system, vms, sev_attributes })
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
