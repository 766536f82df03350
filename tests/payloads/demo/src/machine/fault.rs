//! Exceptions, and the gates through which CPL 3 asks CPL 0 for a hypercall.
//!
//! An exception at CPL 3 comes back to CPL 3 at [`report`], which prints it and ends the VM. A second
//! one, or one at CPL 0, ends the VM at once.
#![allow(unsafe_code, reason = "assembly, the IDT, and registers on the way into a gate")]

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;

use demo_guest::exit::ExitCode;

use super::port;

const VECTORS: usize = 32;
const GATE_VMCALL: usize = 0x80;
const GATE_VMMCALL: usize = 0x81;
const GATE_CPL: usize = 0x82;
const GATES: usize = 0x83;

/// Code segment of CPL 0 in the loader's GDT.
const KERNEL_CODE: u16 = 0x08;
/// Present 64-bit interrupt gate for CPL 0, and one that CPL 3 may call.
const GATE_KERNEL: u8 = 0x8e;
const GATE_USER: u8 = 0xee;

#[derive(Clone, Copy)]
#[repr(C)]
struct Gate {
    offset_low: u16,
    selector: u16,
    ist: u8,
    kind: u8,
    offset_middle: u16,
    offset_high: u32,
    reserved: u32,
}

impl Gate {
    const ABSENT: Gate =
        Gate { offset_low: 0, selector: 0, ist: 0, kind: 0, offset_middle: 0, offset_high: 0, reserved: 0 };

    fn new(target: u64, kind: u8) -> Gate {
        Gate {
            offset_low: target as u16,
            selector: KERNEL_CODE,
            ist: 0,
            kind,
            offset_middle: (target >> 16) as u16,
            offset_high: (target >> 32) as u32,
            reserved: 0,
        }
    }
}

#[repr(C, align(16))]
struct Idt(UnsafeCell<[Gate; GATES]>);

// SAFETY: the payload has one CPU and one thread, and only `install` writes.
unsafe impl Sync for Idt {}

static IDT: Idt = Idt(UnsafeCell::new([Gate::ABSENT; GATES]));

/// Operand of `lidt`.
#[repr(C, packed)]
pub struct IdtPointer {
    limit: u16,
    base: &'static Idt,
}

/// What [`super::entry`] loads, before the table is filled.
pub static IDT_POINTER: IdtPointer = IdtPointer { limit: (size_of::<Idt>() - 1) as u16, base: &IDT };

global_asm!(
    r#"
    .section .text.gates, "ax"
    .balign 16
exception_stubs:
    .set vector, 0
    .rept {vectors}
    .balign 16
    // Vectors 8, 10..14, 17, 21, 29 and 30 push an error code of their own.
    .if ((0x60227d00 >> vector) & 1) == 0
    push 0
    .endif
    push vector
    jmp exception_common
    .set vector, vector + 1
    .endr

exception_common:
    // vector, error, rip, cs, rflags, rsp, ss
    test byte ptr [rsp + 24], 3
    jz 2f
    lock bts dword ptr [rip + fault_seen], 0
    jc 2f
    pop rdi
    pop rsi
    mov rdx, [rsp]
    mov rcx, cr2
    lea rax, [rip + {report}]
    mov [rsp], rax
    lea rax, [rip + fault_stack_top - 8]
    mov [rsp + 24], rax
    iretq
2:
    mov al, {fault_exit}
    out {exit_port}, al
    cli
    hlt
    jmp 2b

    .balign 16
gate_vmcall:
    vmcall
    iretq
    .balign 16
gate_vmmcall:
    vmmcall
    iretq
    .balign 16
gate_cpl:
    mov eax, cs
    iretq

    .section .bss.faults, "aw", @nobits
    .balign 16
    .skip 16 * 1024
fault_stack_top:
fault_seen:
    .skip 4
    "#,
    vectors = const VECTORS,
    report = sym report,
    fault_exit = const ExitCode::DOUBLE_FAULT.0,
    exit_port = const port::EXIT,
);

unsafe extern "C" {
    static exception_stubs: u8;
    static gate_vmcall: u8;
    static gate_vmmcall: u8;
    static gate_cpl: u8;
}

/// Fills the IDT. Before this, an exception is a triple fault.
pub fn install() {
    let stubs = (&raw const exception_stubs).addr() as u64;
    let gates = [
        (GATE_VMCALL, (&raw const gate_vmcall).addr()),
        (GATE_VMMCALL, (&raw const gate_vmmcall).addr()),
        (GATE_CPL, (&raw const gate_cpl).addr()),
    ];
    let idt = IDT.0.get().cast::<Gate>();
    for vector in 0..VECTORS {
        let gate = Gate::new(stubs.wrapping_add(vector as u64 * 16), GATE_KERNEL);
        // SAFETY: `vector` is below GATES; volatile, because the processor reads it behind the compiler.
        unsafe { idt.add(vector).write_volatile(gate) };
    }
    for (vector, target) in gates {
        // SAFETY: as above.
        unsafe { idt.add(vector).write_volatile(Gate::new(target as u64, GATE_USER)) };
    }
}

/// The ring that the gates run in, as a check of gates and TSS: 0.
pub fn gate_ring() -> u64 {
    let cs: u64;
    // SAFETY: the gate writes EAX only; the processor saves the rest.
    unsafe { asm!("int {gate}", gate = const GATE_CPL, lateout("rax") cs) };
    cs & 3
}

/// KVM's hypercall by Intel's instruction.
pub fn vmcall(number: u64, args: [u64; 3]) -> i64 {
    let result;
    let [a, b, c] = args;
    // SAFETY: the gate runs `vmcall`; KVM's ABI keeps every register but RAX. RBX is the compiler's, so
    // it is exchanged around the call.
    unsafe {
        asm!("xchg rbx, {a}", "int {gate}", "xchg rbx, {a}", gate = const GATE_VMCALL,
            a = inout(reg) a => _, inlateout("rax") number => result, in("rcx") b, in("rdx") c);
    }
    result
}

/// KVM's hypercall by AMD's instruction.
pub fn vmmcall(number: u64, args: [u64; 3]) -> i64 {
    let result;
    let [a, b, c] = args;
    // SAFETY: as in `vmcall`.
    unsafe {
        asm!("xchg rbx, {a}", "int {gate}", "xchg rbx, {a}", gate = const GATE_VMMCALL,
            a = inout(reg) a => _, inlateout("rax") number => result, in("rcx") b, in("rdx") c);
    }
    result
}

/// Where an exception at CPL 3 ends.
extern "C" fn report(vector: u64, error: u64, rip: u64, cr2: u64) -> ! {
    crate::println!("exception {vector} error {error:#x} rip {rip:#x} cr2 {cr2:#x}");
    port::exit(ExitCode::EXCEPTION)
}
