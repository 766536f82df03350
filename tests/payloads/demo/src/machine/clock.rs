//! Time that always ends: the TSC, bounded by a count of looks at it, since a host may stop the TSC.
#![allow(unsafe_code, reason = "rdtsc")]

use core::arch::x86_64::_rdtsc;

use demo_guest::platform::Timer;

use super::port;

/// Reads the time stamp counter.
pub fn ticks() -> u64 {
    // SAFETY: no memory is touched; the loader leaves CR4.TSD clear.
    unsafe { _rdtsc() }
}

/// Looks that are spent spinning before the host is told that we wait.
const SPINS: u32 = 256;
/// The TSC is taken for one of 4 GHz: waits are not shorter on any processor of today.
const TICKS_A_SECOND: u64 = 4_000_000_000;

/// A wait that ends, whatever the host does to the clock.
#[derive(Debug, Default)]
pub struct Deadline {
    start: u64,
    limit: u64,
    looks: u32,
}

impl Timer for Deadline {
    fn restart(&mut self, seconds: u32) {
        *self = Deadline { start: ticks(), limit: TICKS_A_SECOND.saturating_mul(seconds.into()), looks: 0 };
    }

    fn wait(&mut self) -> bool {
        self.looks = self.looks.saturating_add(1);
        if self.looks.is_multiple_of(SPINS) {
            // An exit, so that a VMM that wants to may let somebody else run.
            port::inb(port::EXIT);
        } else {
            core::hint::spin_loop();
        }
        ticks().wrapping_sub(self.start) < self.limit && self.looks < u32::MAX
    }
}
