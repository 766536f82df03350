//! The other processors: from their reset to Rust.
//!
//! They begin in real mode, in a page below 1 MiB; a few instructions take them to the first one's
//! tables and to a stack of their own.
#![allow(unsafe_code, reason = "assembly, machine registers, and code that is copied to where it runs")]

use core::arch::{asm, global_asm, x86_64::__cpuid};

use demo_guest::boot_info::PAGE_SIZE;

use crate::pages::{Pages, To, Trouble};
use crate::{fault, run};

/// Most processors that there are stacks for.
pub const MOST: u32 = 4;
/// Where the others begin: free memory in the loader's map. Its page number is what they are sent.
const BEGIN: Pages = Pages { gpa: 0x3_0000, count: 1 };

/// IA32_APIC_BASE with its bits for x2APIC mode, and the x2APIC's interrupt command register
/// (Intel SDM vol. 3, 12.12).
const APIC_BASE: u32 = 0x1b;
const APIC_ON: u64 = 1 << 11 | 1 << 10;
const ICR: u32 = 0x830;
/// To all others, asserted: INIT, and start-up.
const INIT_OTHERS: u64 = 0xc_4500;
const STARTUP_OTHERS: u64 = 0xc_4600;

global_asm!(
    r#"
    .section .text.start, "ax"
    .globl _start
_start:
    cld
    lea rsp, [rip + stacks + {stack}]
    xor ebp, ebp
    call {main}
    ud2

    // Copied to `BEGIN`. Addresses in it are offsets from its start, which is where CS begins too.
    .section .rodata.others, "a"
    .code16
others_begin:
    cli
    cld
    mov ax, cs
    mov ds, ax
    .byte 0x66, 0x0f, 0x01, 0x16                // lgdt [others_gdtr], with a base of 32 bits
    .short others_gdtr - others_begin
    mov eax, {cr4}
    mov cr4, eax
    .byte 0x66, 0xa1                            // mov eax, [others_cr3]
    .short others_cr3 - others_begin
    mov cr3, eax
    mov ecx, 0xc0000080                         // EFER
    mov eax, 0x100                              // long mode
    xor edx, edx
    wrmsr
    mov eax, {cr0}
    mov cr0, eax
    .byte 0x66, 0xea                            // jmp 0x08:others_long
    .long others_long
    .short 0x08
    .balign 8
others_cr3:
    .long 0
others_gdtr:
    .skip 10
others_end:

    .code64
    .section .text.others, "ax"
others_long:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov edi, 1
    lock xadd dword ptr [rip + others_count], edi
    inc edi
    mov eax, edi
    inc eax
    imul eax, eax, {stack}
    lea rsp, [rip + stacks]
    add rsp, rax
    xor ebp, ebp
    call {other}
    ud2

    .section .bss.stacks, "aw", @nobits
    .balign 4096
stacks:
    .skip {stack} * {most}
others_count:
    .skip 4
    "#,
    stack = const 64 * 1024,
    most = const MOST,
    // PAE, OSFXSR, OSXMMEXCPT; PG, NE, ET, MP, PE: as the loader has them on the first processor.
    cr4 = const (1 << 5) | (1 << 9) | (1 << 10),
    cr0 = const 0x8000_0033u32,
    main = sym crate::main,
    other = sym other,
);

unsafe extern "C" {
    static others_begin: u8;
    static others_cr3: u8;
    static others_gdtr: u8;
    static others_end: u8;
}

/// How many processors there are: leaf 1, EBX 23:16.
pub fn count() -> u32 {
    (__cpuid(1).ebx >> 16 & 0xff).clamp(1, MOST)
}

/// Where another processor enters Rust. It does its work and stops.
extern "C" fn other(index: u32) -> ! {
    fault::load();
    run::other(index);
    loop {
        // SAFETY: interrupts are off: this processor does nothing more.
        unsafe { asm!("hlt", options(nomem, nostack)) };
    }
}

/// Starts all others. What they begin with lies in shared memory: a host that has to look at an
/// instruction in this mode looks there.
pub fn start_others() -> Result<(), Trouble> {
    BEGIN.convert(To::Shared)?;
    let (mut gdtr, cr3) = ([0u8; 10], cr3());
    // SAFETY: SGDT writes ten bytes.
    unsafe { asm!("sgdt [{}]", in(reg) &mut gdtr, options(nostack, preserves_flags)) };
    let begin = &raw const others_begin;
    let len = (&raw const others_end).addr() - begin.addr();
    let target = core::ptr::with_exposed_provenance_mut::<u8>(BEGIN.gpa as usize);
    let part = |part: *const u8| target.wrapping_add(part.addr() - begin.addr());
    assert!(len as u64 <= PAGE_SIZE);
    // SAFETY: the page is RAM of nobody's, and the code, with the two places in it that are filled in, is
    // shorter than a page.
    unsafe {
        core::ptr::copy_nonoverlapping(begin, target, len);
        part(&raw const others_cr3).cast::<u32>().write_unaligned(cr3 as u32);
        part(&raw const others_gdtr).cast::<[u8; 10]>().write_unaligned(gdtr);
    }
    write_msr(APIC_BASE, read_msr(APIC_BASE) | APIC_ON);
    write_msr(ICR, INIT_OTHERS);
    write_msr(ICR, STARTUP_OTHERS | (BEGIN.gpa / PAGE_SIZE));
    Ok(())
}

fn cr3() -> u64 {
    let cr3;
    // SAFETY: a read of a register.
    unsafe { asm!("mov {}, cr3", out(reg) cr3, options(nomem, nostack, preserves_flags)) };
    cr3
}

fn read_msr(msr: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the registers named above are there on every processor with an x2APIC.
    unsafe {
        asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high, options(nostack, preserves_flags))
    };
    u64::from(high) << 32 | u64::from(low)
}

fn write_msr(msr: u32, value: u64) {
    // SAFETY: as in `read_msr`; interrupts at other processors do not touch our memory but as we wrote
    // it above.
    unsafe {
        asm!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags));
    }
}
