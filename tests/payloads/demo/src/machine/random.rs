//! Randomness from the processor: RDRAND, which a host cannot forge on confidential platforms.
#![allow(unsafe_code, reason = "rdrand and cpuid")]

use core::arch::asm;
use core::arch::x86_64::__cpuid;

use sha2::{Digest, Sha512};

use super::clock;
use crate::println;
use demo_guest::exit::ExitCode;

const RDRAND: u32 = 1 << 30;
/// Intel's advice is ten; a busy machine may starve it longer.
const RETRIES: u32 = 1000;

/// Whether the processor has a generator.
pub fn available() -> bool {
    __cpuid(1).ecx & RDRAND != 0 && word().is_some()
}

fn word() -> Option<u64> {
    for _ in 0..RETRIES {
        let (value, ok): (u64, u8);
        // SAFETY: CPUID said that the instruction is there (or `available` refuses to go on).
        unsafe { asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) ok, options(nomem, nostack)) };
        // All ones and all zeros are how broken generators answer.
        if ok == 1 && value != 0 && value != u64::MAX {
            return Some(value);
        }
    }
    None
}

/// Fills `bytes`, or ends the VM: a guest without randomness has no secrets to receive.
///
/// Every 32 bytes come from 64 of RDRAND, hashed with the clock.
pub fn fill(bytes: &mut [u8]) {
    for chunk in bytes.chunks_mut(32) {
        let mut hash = Sha512::new();
        for _ in 0..8 {
            let Some(word) = word() else {
                println!("no randomness: rdrand failed");
                super::port::exit(ExitCode::NO_RANDOMNESS)
            };
            hash.update(word.to_le_bytes());
            hash.update(clock::ticks().to_le_bytes());
        }
        for (to, from) in chunk.iter_mut().zip(hash.finalize()) {
            *to = from;
        }
    }
}
