//! KVM's rules, as the dry kernel keeps them.

use kvm_bindings::{kvm_regs, kvm_sregs};

use super::super::Kernel;
use super::*;
use crate::snp::abi::{CommandId, Init};
use zerocopy::IntoBytes;

const SIZE: u64 = 1 << 20;

fn kernel(kind: PlatformKind) -> Kernel {
    let ram = GuestRam::new(&[RamRange { start: 0, size: SIZE }]).unwrap();
    Kernel::new(Arc::new(DryKernel::new(kind, ram).unwrap()))
}

#[track_caller]
fn refused<T>(result: std::io::Result<T>, errno: i32) {
    assert_eq!(result.err().and_then(|e| e.raw_os_error()), Some(errno));
}

#[test]
fn there_is_one_vm_of_one_type() {
    let kernel = kernel(PlatformKind::Protected);
    refused(kernel.create_vcpu(0), libc::EBADF);
    refused(kernel.create_vm(4), libc::EINVAL);
    kernel.create_vm(1).unwrap();
    refused(kernel.create_vm(1), libc::EBUSY);
    refused(kernel.regs(0), libc::EBADF);
}

#[test]
fn interrupt_controllers_come_before_vcpus_and_the_timer_between() {
    let kernel = kernel(PlatformKind::Off);
    kernel.create_vm(0).unwrap();
    refused(kernel.create_vcpu(0), libc::EINVAL);
    refused(kernel.enable_cap(KVM_CAP_X86_APIC_BUS_CYCLES_NS, 40), libc::ENXIO);
    kernel.enable_cap(KVM_CAP_SPLIT_IRQCHIP, 24).unwrap();
    refused(kernel.enable_cap(KVM_CAP_SPLIT_IRQCHIP, 24), libc::EEXIST);
    refused(kernel.enable_cap(KVM_CAP_EXIT_HYPERCALL, 1), libc::EINVAL);
    refused(kernel.create_vcpu(1), libc::EEXIST);
    kernel.create_vcpu(0).unwrap();
    refused(kernel.enable_cap(KVM_CAP_X86_APIC_BUS_CYCLES_NS, 40), libc::EINVAL);
}

#[test]
fn memory_has_a_private_side_where_the_vm_has_one() {
    let plain = kernel(PlatformKind::Off);
    plain.create_vm(0).unwrap();
    refused(plain.create_guest_memfd(4096, 0), libc::EINVAL);
    plain.create_guest_memfd(4096, 3).unwrap();
    refused(plain.set_memory_attributes(0, 4096, 8), libc::EINVAL);

    let private = kernel(PlatformKind::Protected);
    private.create_vm(1).unwrap();
    refused(private.create_guest_memfd(4096, 3), libc::EINVAL);
    refused(private.create_guest_memfd(100, 0), libc::EINVAL);
    private.set_memory_attributes(0, SIZE, 8).unwrap();
    for (address, size, attributes) in [(1, 4096, 8), (0, 4097, 8), (0, 0, 8), (0, 4096, 1)] {
        refused(private.set_memory_attributes(address, size, attributes), libc::EINVAL);
    }
    let region = |slot, start| kvm_bindings::kvm_userspace_memory_region {
        slot,
        guest_phys_addr: start,
        memory_size: 0x2000,
        userspace_addr: 0x1000,
        flags: 0,
    };
    private.set_user_memory_region(&region(0, 0x1000)).unwrap();
    refused(private.set_user_memory_region(&region(1, 0x2000)), libc::EEXIST);
    refused(private.set_user_memory_region(&region(1, 0x8001)), libc::EINVAL);
}

#[test]
fn a_td_s_registers_are_not_ours() {
    let kernel = kernel(PlatformKind::Tdx);
    kernel.create_vm(5).unwrap();
    kernel.enable_cap(KVM_CAP_SPLIT_IRQCHIP, 24).unwrap();
    refused(kernel.create_vcpu(0), libc::EIO);
    refused(kernel.set_sregs(0, &kvm_sregs::default()), libc::EINVAL);
    refused(kernel.set_regs(0, &kvm_regs::default()), libc::EINVAL);
    refused(kernel.pre_fault_memory(0, &mut Default::default()), libc::EOPNOTSUPP);
    assert_eq!(SevIoctl::encrypt_op(&kernel, &mut SevCmd::default()), Err(libc::ENOTTY));
}

#[test]
fn sev_commands_need_the_device_open_at_its_number() {
    let kernel = kernel(PlatformKind::Snp);
    kernel.create_vm(4).unwrap();
    let mut init = Init::default();
    let data = init.as_mut_bytes().as_mut_ptr() as u64;
    // No process has as many descriptors as that.
    let mut cmd = SevCmd { id: CommandId::INIT2.0, data, sev_fd: i32::MAX as u32, ..SevCmd::default() };
    assert_eq!(SevIoctl::encrypt_op(&kernel, &mut cmd), Err(libc::EBADF));
}
