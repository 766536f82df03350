//! Checks and times what the rest relies on, when the boot-info page asks for it.

use sha2::{Digest, Sha256};

use crate::machine::{clock, fault, random};
use crate::println;

/// Runs all checks; false if one fails. `gates`: whether hypercalls go through software interrupts here
/// (a KVM that emulates kernel mode may not know `int n`, and there they do not).
pub fn run(gates: bool) -> bool {
    let mut ring = 0;
    if gates {
        let start = clock::ticks();
        ring = fault::gate_ring();
        println!("gate ring {ring}, {} cycles", clock::ticks().wrapping_sub(start));
    }
    let start = clock::ticks();
    let mut sum = 0.0f64;
    for i in 0..1000u32 {
        sum += core::hint::black_box(f64::from(i)) * 0.5;
    }
    println!("sse {}, {} cycles", sum as u32, clock::ticks().wrapping_sub(start));
    let block = [0u8; 4096];
    let start = clock::ticks();
    let mut hash = Sha256::new();
    (0..16).for_each(|_| hash.update(core::hint::black_box(&block)));
    let digest = hash.finalize();
    println!("sha256 of 64 KiB {} cycles, {:02x?}", clock::ticks().wrapping_sub(start), &digest[..4]);
    let rdrand = random::available();
    println!("rdrand {rdrand}");
    // SHA-256 of 65,536 zero bytes begins with de2f256064a0af79.
    ring == 0 && sum == 249_750.0 && digest[..4] == [0xde, 0x2f, 0x25, 0x60]
}
