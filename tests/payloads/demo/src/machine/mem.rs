//! What the compiler expects from a C library and an unwinder. String instructions: short, and fast on every processor
//! that runs confidential guests.
#![allow(unsafe_code, reason = "the compiler's memory functions")]

use core::arch::asm;

use demo_guest::exit::ExitCode;

/// The precompiled `alloc` was built to unwind. A panic here ends the VM before anything could resume.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    super::port::exit(ExitCode::PANIC)
}

/// Named by the same unwind tables, in builds that do not throw them away before linking.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() -> ! {
    super::port::exit(ExitCode::PANIC)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    // SAFETY: the caller promises `len` readable and writable bytes.
    unsafe {
        asm!("rep movsb", inout("rcx") len => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags));
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= len {
        // SAFETY: the caller's promise; a forward copy never overwrites what it has yet to read.
        return unsafe { memcpy(to, from, len) };
    }
    // SAFETY: the caller's promise; `to` lies inside the source, so the copy runs backwards from the last
    // byte. The direction flag is clear again afterwards.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") len => _,
            inout("rdi") to.wrapping_add(len).wrapping_sub(1) => _,
            inout("rsi") from.wrapping_add(len).wrapping_sub(1) => _, options(nostack));
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
    // SAFETY: the caller promises `len` writable bytes.
    unsafe {
        asm!("rep stosb", inout("rcx") len => _, inout("rdi") to => _, in("al") byte as u8,
            options(nostack, preserves_flags));
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, len: usize) -> i32 {
    for at in 0..len {
        // SAFETY: the caller promises `len` readable bytes on both sides.
        let (a, b) = unsafe { (left.add(at).read(), right.add(at).read()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, len: usize) -> i32 {
    // SAFETY: the caller's promise is the same.
    unsafe { memcmp(left, right, len) }
}
