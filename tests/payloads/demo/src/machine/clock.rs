//! Time that always ends: the TSC, bounded by a count of looks at it, since a host may stop the TSC.
#![allow(unsafe_code, reason = "rdtsc and pause")]

use core::arch::x86_64::{_mm_pause, _rdtsc};

use super::port;

/// Reads the time stamp counter.
pub fn ticks() -> u64 {
    // SAFETY: no memory is touched; the loader leaves CR4.TSD clear.
    unsafe { _rdtsc() }
}

/// Looks that are spent spinning before the host is told that we wait.
const SPINS: u32 = 256;

/// A wait that ends, whatever the host does to the clock.
#[derive(Debug)]
pub struct Deadline {
    start: u64,
    limit: u64,
    looks: u32,
}

impl Deadline {
    /// Roughly `seconds`, taking the TSC for one of 4 GHz: not less on any processor of today.
    pub fn seconds(seconds: u64) -> Self {
        Deadline { start: ticks(), limit: seconds.saturating_mul(4_000_000_000), looks: 0 }
    }

    /// Waits a little; false when the time is up.
    pub fn wait(&mut self) -> bool {
        self.looks = self.looks.saturating_add(1);
        if self.looks % SPINS == 0 {
            // An exit, so that a VMM that wants to may let somebody else run.
            port::inb(port::EXIT);
        } else {
            // SAFETY: a hint.
            unsafe { _mm_pause() };
        }
        ticks().wrapping_sub(self.start) < self.limit && self.looks < u32::MAX
    }
}
