//! Checks and times what the rest relies on, when the boot-info page asks for it.

use cloister_attestation::protocol::StaticKey;
use sha2::{Digest, Sha256};

use crate::machine::{clock, fault, random};
use crate::println;

/// Runs all checks; false if one fails. `gates`: whether hypercalls go through software interrupts here
/// (a KVM that emulates kernel mode may not know `int n`, and there they do not).
pub fn run(gates: bool) -> bool {
    let mut ring = 0;
    if gates {
        ring = timed("gate", fault::gate_ring);
    }
    let sum = timed("sse", || (0..1000u32).map(|i| core::hint::black_box(f64::from(i)) * 0.5).sum::<f64>());
    let block = [0u8; 4096];
    let digest = timed("sha256 of 64 KiB", || {
        let mut hash = Sha256::new();
        (0..16).for_each(|_| hash.update(core::hint::black_box(&block)));
        hash.finalize()
    });
    let random = random::available();
    println!("self test: rdrand {}", if random { "works" } else { "does not work" });
    let key = random && timed("P-256 key", || StaticKey::generate(random::fill)).is_ok();
    // SHA-256 of 65,536 zero bytes begins with de2f2560.
    ring == 0 && sum == 249_750.0 && digest.starts_with(&[0xde, 0x2f, 0x25, 0x60]) && key
}

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let start = clock::ticks();
    let result = run();
    println!("self test: {what}: {} cycles", clock::ticks().wrapping_sub(start));
    result
}
