//! On this machine's KVM, where there is one: what it offers decides what is shown.
#![allow(clippy::print_stderr, reason = "a test says which of its two claims it could show")]

use std::sync::Arc;

use kvm_ioctls::{Kvm, VcpuExit};

use super::*;
use crate::launch::KvmKernel;
use crate::memory::{PAGE_SIZE, RamRange, SharedMemory};

/// `mov [0x1000], al; hlt`, in real mode, at 0.
const CODE: [u8; 4] = [0xa2, 0x00, 0x10, 0xf4];

#[test]
fn a_guest_in_a_mapped_guest_memfd_shares_its_memory_with_the_host() {
    let Ok(kvm) = Kvm::new() else {
        // Nothing to ask: the whole-machine tests bring a KVM of their own.
        eprintln!("no /dev/kvm here");
        return;
    };
    let real = Arc::new(KvmKernel::new(Arc::new(kvm)));
    let kernel = Kernel::new(Arc::clone(&real) as _);
    kernel.create_vm(0).unwrap();
    let ranges =
        [RamRange { start: 0, size: 4 * PAGE_SIZE }, RamRange { start: 1 << 32, size: 2 * PAGE_SIZE }];
    let made = GuestRam::in_file(&ranges, |size| mapped_guest_memfd(&kernel, size));
    if !offers_guest_memfd(&kernel).unwrap() {
        assert!(made.is_err(), "this KVM does not say that it offers what it does");
        eprintln!("this KVM offers no guest_memfd that can be mapped");
        return;
    }
    let ram = made.unwrap();
    set_guest_memfd_slots(&kernel, &ram).unwrap();
    ram.load(0, &CODE).unwrap();
    kernel.create_vcpu(0).unwrap();
    let mut sregs = kernel.sregs(0).unwrap();
    (sregs.cs.base, sregs.cs.selector) = (0, 0);
    kernel.set_sregs(0, &sregs).unwrap();
    let mut regs = kernel.regs(0).unwrap();
    (regs.rip, regs.rax, regs.rflags) = (0, 0x5a, 2);
    kernel.set_regs(0, &regs).unwrap();
    let mut vcpu = real.take_vcpus().remove(0);
    assert!(matches!(vcpu.run().unwrap(), VcpuExit::Hlt));

    let memory = SharedMemory::new(ram.clone());
    assert_eq!(memory.read_obj::<u8>(0x1000).unwrap(), 0x5a, "what the guest wrote");
    ram.load(1 << 32, &[7]).unwrap();
    assert_eq!(crate::memory::resident(ram.file()), Some(3 * PAGE_SIZE), "pages touched on either side");
    assert!(ram.file().set_len(0).is_err(), "a peer could shrink guest memory");
}
