//! From the loader's state (long mode, CPL 0) to Rust at CPL 3.
//!
//! Kernel mode is left after a dozen instructions, for good: on hosts whose KVM emulates kernel mode
//! it is slow and has no SSE. User mode keeps port I/O through IOPL 3, and interrupts stay off: the
//! payload polls. The stack that the loader gave serves here and, as RSP0, in the gates.
#![allow(unsafe_code, reason = "assembly, and symbols that the linker script defines")]

use core::arch::global_asm;

use demo_guest::boot_info::Range;

global_asm!(
    r#"
    .section .text.start, "ax"
    .globl _start
_start:
    cld
    lidt [rip + {idt_pointer}]
    mov eax, 0x1b
    mov ds, eax
    mov es, eax
    push 0x1b
    lea rax, [rip + user_stack_top]
    push rax
    push 0x3002
    push 0x23
    lea rax, [rip + user_start]
    push rax
    iretq

user_start:
    xor ebp, ebp
    call {main}
    ud2

    .section .bss.stacks, "aw", @nobits
    .balign 4096
    .skip 128 * 1024
user_stack_top:
    "#,
    idt_pointer = sym super::fault::IDT_POINTER,
    main = sym crate::main,
);

unsafe extern "C" {
    static __image_start: u8;
    static __image_end: u8;
}

/// The addresses that the payload's own segments take, stacks and heap included.
pub fn image() -> Range {
    Range { start: (&raw const __image_start).addr() as u64, end: (&raw const __image_end).addr() as u64 }
}
