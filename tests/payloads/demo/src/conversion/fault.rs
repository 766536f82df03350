//! Exceptions: each is told and ends the VM. There are none in a guest that works on a host that works.
#![allow(unsafe_code, reason = "assembly and the IDT")]

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;

use demo_guest::exit::ExitCode;

use crate::machine::port;
use crate::println;

const VECTORS: usize = 32;
/// Code segment of CPL 0 in the loader's GDT, and a present 64-bit interrupt gate.
const CODE: u64 = 0x08;
const GATE: u64 = 0x8e00;

/// Two words a gate (AMD APM vol. 2, 4.8.4).
#[repr(C, align(16))]
struct Idt(UnsafeCell<[[u64; 2]; VECTORS]>);

// SAFETY: written by one processor before the others run, and read by processors only.
unsafe impl Sync for Idt {}

static IDT: Idt = Idt(UnsafeCell::new([[0; 2]; VECTORS]));

global_asm!(
    r#"
    .section .text.faults, "ax"
    .balign 16
fault_stubs:
    .set vector, 0
    .rept {vectors}
    .balign 16
    // Vectors 8, 10..14, 17, 21, 29 and 30 push an error code of their own.
    .if ((0x60227d00 >> vector) & 1) == 0
    push 0
    .endif
    push vector
    jmp fault_common
    .set vector, vector + 1
    .endr
fault_common:
    // vector, error, rip
    pop rdi
    pop rsi
    pop rdx
    mov rcx, cr2
    and rsp, -16
    call {report}
    ud2
    "#,
    vectors = const VECTORS,
    report = sym report,
);

unsafe extern "C" {
    static fault_stubs: u8;
}

/// Fills the IDT. Once, on the first processor.
pub fn install() {
    let stubs = (&raw const fault_stubs).addr() as u64;
    for vector in 0..VECTORS {
        let at = stubs + vector as u64 * 16;
        let low = (at & 0xffff) | CODE << 16 | GATE << 32 | (at >> 16 & 0xffff) << 48;
        // SAFETY: `vector` is inside; volatile, because the processor reads it behind the compiler.
        unsafe { IDT.0.get().cast::<[u64; 2]>().add(vector).write_volatile([low, at >> 32]) };
    }
    load();
}

/// Makes this processor use the IDT.
pub fn load() {
    let mut pointer = [0u8; 10];
    pointer[..2].copy_from_slice(&(size_of::<Idt>() as u16 - 1).to_le_bytes());
    pointer[2..].copy_from_slice(&(IDT.0.get().addr() as u64).to_le_bytes());
    // SAFETY: ten bytes: the limit and the address of a table that is never written again.
    unsafe { asm!("lidt [{}]", in(reg) &pointer, options(nostack, preserves_flags)) };
}

extern "C" fn report(vector: u64, error: u64, rip: u64, cr2: u64) -> ! {
    println!("exception {vector} error {error:#x} rip {rip:#x} cr2 {cr2:#x}");
    port::exit(ExitCode::EXCEPTION)
}
