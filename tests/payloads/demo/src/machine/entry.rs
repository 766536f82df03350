//! From the loader's state (long mode, CPL 0) to Rust at CPL 3.
//!
//! Kernel mode is left after a few instructions, for good: on hosts whose KVM emulates kernel mode it is
//! slow and has no SSE. Interrupts stay off: the payload polls. Port I/O at CPL 3 is allowed twice, by
//! IOPL 3 and by a TSS whose I/O bitmap has every port open, because such hosts forget the IOPL. So the
//! GDT is ours; the stack that the loader gave serves here and, as RSP0, in the gates.
#![allow(unsafe_code, reason = "assembly, and symbols that the linker script defines")]

use core::arch::global_asm;

use demo_guest::boot_info::Range;

global_asm!(
    r#"
    .section .text.start, "ax"
    .globl _start
_start:
    cld
    // The TSS descriptor: its base is known to nobody before the linker, and split into three parts.
    lea rax, [rip + tss]
    mov [rip + gdt_tss + 2], ax
    shr eax, 16
    mov [rip + gdt_tss + 4], al
    mov [rip + gdt_tss + 7], ah
    mov [rip + tss + 4], rsp
    lgdt [rip + gdt_pointer]
    mov eax, 0x28
    ltr ax
    lidt [rip + {idt_pointer}]
    mov rax, cr4
    or eax, {cr4_sse}
    mov cr4, rax
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

    .section .data.gdt, "aw"
    .balign 16
gdt:
    .quad 0
    .quad 0x00af9b000000ffff    // 0x08 code, CPL 0
    .quad 0x00cf93000000ffff    // 0x10 data, CPL 0
    .quad 0x00cff3000000ffff    // 0x18 data, CPL 3
    .quad 0x00affb000000ffff    // 0x20 code, CPL 3
gdt_tss:
    .quad 0x0000890000000000 + {tss_limit}
    .quad 0
gdt_end:
gdt_pointer:
    .short gdt_end - gdt - 1
    .quad gdt

    .balign 128                 // so that no page boundary lies in the TSS proper
tss:
    .skip 102
    .short 104
    .skip 65536 / 8
    .byte 0xff

    .section .bss.stacks, "aw", @nobits
    .balign 4096
    .skip 128 * 1024
user_stack_top:
    "#,
    // The TSS proper, a bit for each port, and the byte of ones that has to follow.
    tss_limit = const 104 + 65536 / 8,
    // OSFXSR and OSXMMEXCPT.
    cr4_sse = const (1 << 9) | (1 << 10),
    idt_pointer = sym super::fault::IDT_POINTER,
    main = sym crate::main,
);

unsafe extern "C" {
    static __image_start: u8;
    static __image_end: u8;
}

/// Where the loader keeps its tables and stacks.
pub const LOADER: Range = Range { start: 0, end: 1 << 20 };

/// The addresses that the payload's own segments take, stacks and heap included.
pub fn image() -> Range {
    Range { start: (&raw const __image_start).addr() as u64, end: (&raw const __image_end).addr() as u64 }
}
