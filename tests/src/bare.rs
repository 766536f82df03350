//! A VM with private memory and next to nothing around it: no board, no devices, no launch. What the
//! guest does is told to it step by step, so that a test sees both sides of its memory.

use std::sync::Arc;

use cloister_coco::launch::{Kernel, KvmKernel};
use cloister_coco::memory::{Converter, GuestRam, PAGE_SIZE, RamRange, SharedMemory, Target};
use cloister_coco::protected::GuestMemfd;
use kvm_bindings::{KVM_CAP_EXIT_HYPERCALL, kvm_regs, kvm_segment};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};

/// KVM_X86_SW_PROTECTED_VM, KVM_HC_MAP_GPA_RANGE, and the bit of its attributes that says private
/// (include/uapi: asm/kvm.h, linux/kvm_para.h).
const PROTECTED_VM: u64 = 1;
const MAP_GPA_RANGE: u64 = 12;
const ENCRYPTED: u64 = 1 << 4;

/// Where the guest's few instructions are. This page is never private.
const CODE: u64 = 0x1000;
/// The port by which it says that a step is done.
const DONE: u16 = 0x10;

/// The VM: RAM from 0 on, all of it shared.
pub struct BareVm {
    /// What converts its memory.
    pub converter: Arc<Converter>,
    /// What it has of KVM.
    pub kernel: Kernel,
    /// Its RAM, from the host's side.
    pub ram: GuestRam,
    kvm: Arc<KvmKernel>,
}

impl BareVm {
    /// A VM with `size` bytes of RAM, and no vCPU. This host's KVM has software-protected VMs.
    pub fn new(size: u64) -> Self {
        let kvm = Arc::new(KvmKernel::new(Arc::new(Kvm::new().expect("/dev/kvm"))));
        let kernel = Kernel::new(Arc::clone(&kvm) as _);
        kernel.create_vm(PROTECTED_VM).expect("a software-protected VM");
        kernel.enable_cap(KVM_CAP_EXIT_HYPERCALL, 1 << MAP_GPA_RANGE).expect("hypercalls that exit");
        let ram = GuestRam::new(&[RamRange { start: 0, size }]).expect("RAM");
        let backing = GuestMemfd::new(kernel.clone(), &ram).expect("guest_memfd");
        let converter = Arc::new(Converter::new(SharedMemory::new(ram.clone()), Box::new(backing)));
        BareVm { converter, kernel, ram, kvm }
    }

    /// The guest's hands: so many vCPUs, which do nothing by themselves.
    pub fn hands(&self, count: u32) -> Vec<Hand> {
        self.ram.load(CODE, &code()).expect("RAM");
        for id in 0..count {
            self.kernel.create_vcpu(id).expect("a vCPU");
            let mut sregs = self.kernel.sregs(id).expect("registers");
            // Protected mode without paging: an address is an address.
            sregs.cr0 |= 1;
            let flat = |selector, type_| kvm_segment {
                limit: u32::MAX,
                selector,
                type_,
                present: 1,
                s: 1,
                db: 1,
                g: 1,
                ..kvm_segment::default()
            };
            sregs.cs = flat(0x08, 0xb);
            (sregs.ds, sregs.es, sregs.ss) = (flat(0x10, 0x3), flat(0x10, 0x3), flat(0x10, 0x3));
            self.kernel.set_sregs(id, &sregs).expect("registers");
        }
        let converter = &self.converter;
        self.kvm
            .take_vcpus()
            .into_iter()
            .map(|vcpu| Hand { vcpu, converter: Arc::clone(converter) })
            .collect()
    }
}

/// What a step came to instead of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// KVM_EXIT_MEMORY_FAULT: flags, address, size.
    MemoryFault(u64, u64, u64),
}

/// The guest's instructions, each few of them followed by a write to [`DONE`]: their places.
mod step {
    use super::CODE;

    pub(super) const FILL: u64 = CODE;
    pub(super) const SAME: u64 = CODE + 0x10;
    pub(super) const HYPERCALL: u64 = CODE + 0x20;
}

fn code() -> [u8; 0x30] {
    let mut code = [0xf4; 0x30];
    // rep stosd; out DONE, al
    code[..4].copy_from_slice(&[0xf3, 0xab, 0xe6, DONE as u8]);
    // cmp eax, eax; repe scasd; setz al; out DONE, al
    code[0x10..0x19].copy_from_slice(&[0x39, 0xc0, 0xf3, 0xaf, 0x0f, 0x94, 0xc0, 0xe6, DONE as u8]);
    // vmcall or vmmcall; out DONE, eax
    let vendor = core::arch::x86_64::__cpuid(0).ebx;
    let call = if vendor == u32::from_le_bytes(*b"Auth") { 0xd9 } else { 0xc1 };
    code[0x20..0x25].copy_from_slice(&[0x0f, 0x01, call, 0xe7, DONE as u8]);
    code
}

/// A vCPU that does one thing at a time.
pub struct Hand {
    vcpu: VcpuFd,
    converter: Arc<Converter>,
}

impl Hand {
    /// The guest writes `word` all over `[gpa, gpa + len)`.
    pub fn fill(&mut self, gpa: u64, len: u64, word: u32) {
        let done = self.step(step::FILL, [word.into(), 0, len / 4, 0, gpa]);
        done.unwrap_or_else(|stopped| panic!("filling {gpa:#x}: {stopped:?}"));
    }

    /// The guest looks whether `[gpa, gpa + len)` holds `word` all over.
    pub fn holds(&mut self, gpa: u64, len: u64, word: u32) -> bool {
        self.look(gpa, len, word).unwrap_or_else(|stopped| panic!("looking at {gpa:#x}: {stopped:?}"))
    }

    /// The same, where it may be stopped.
    pub fn look(&mut self, gpa: u64, len: u64, word: u32) -> Result<bool, Stopped> {
        self.step(step::SAME, [word.into(), 0, len / 4, 0, gpa]).map(|same| same == 1)
    }

    /// The guest asks for a conversion; what it is answered.
    pub fn convert(&mut self, gpa: u64, pages: u64, to: Target) -> i32 {
        let attributes = if to == Target::Private { ENCRYPTED } else { 0 };
        let answer = self.step(step::HYPERCALL, [MAP_GPA_RANGE, gpa, pages, attributes, 0]);
        answer.unwrap_or_else(|stopped| panic!("converting {gpa:#x}: {stopped:?}")).cast_signed()
    }

    /// Goes on where it was stopped.
    pub fn again(&mut self) -> Result<u32, Stopped> {
        loop {
            match self.vcpu.run() {
                Ok(VcpuExit::IoOut(DONE, data)) => {
                    let mut word = [0; 4];
                    word[..data.len()].copy_from_slice(data);
                    return Ok(u32::from_le_bytes(word));
                }
                Ok(VcpuExit::Hypercall(call)) => {
                    let to = if call.args[2] & ENCRYPTED != 0 { Target::Private } else { Target::Shared };
                    let done = self.converter.convert(call.args[0], call.args[1], to);
                    *call.ret = done.map_or_else(|_| (-22i64).cast_unsigned(), |()| 0);
                }
                Ok(VcpuExit::MemoryFault { flags, gpa, size }) => {
                    // KVM_RUN fails with this exit; kvm-ioctls leaves its error where it was.
                    assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EFAULT));
                    return Err(Stopped::MemoryFault(flags, gpa, size));
                }
                Ok(other) => panic!("the guest left with {other:?}"),
                Err(e) if e.errno() == libc::EINTR => {}
                Err(e) => panic!("KVM_RUN: {e}"),
            }
        }
    }

    /// Runs the instructions at `rip` with these in RAX, RBX, RCX, RDX and RDI.
    fn step(&mut self, rip: u64, [rax, rbx, rcx, rdx, rdi]: [u64; 5]) -> Result<u32, Stopped> {
        let regs = kvm_regs { rip, rax, rbx, rcx, rdx, rdi, rflags: 2, ..kvm_regs::default() };
        self.vcpu.set_regs(&regs).expect("registers");
        self.again()
    }
}

/// Pages as bytes.
pub fn bytes(pages: u64) -> u64 {
    pages * PAGE_SIZE
}
