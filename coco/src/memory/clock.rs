//! A clock to read at the beginning and the end of every conversion, which is short itself.
//!
//! Where Linux keeps its own time by the time-stamp counter, it has seen that the counter runs at one rate and alike
//! on all processors; then it is read without asking Linux, and turned into time only when somebody wants to know.
#![allow(unsafe_code, reason = "the time-stamp counter is read by an intrinsic")]

use std::arch::x86_64::_rdtsc;
use std::time::{Duration, Instant};

/// The clock by which the kernel tells the time (kernel/time/clocksource.c).
const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

#[derive(Debug)]
pub(super) struct Clock {
    counter: bool,
    /// Both clocks, read at the same time.
    began: (Instant, u64),
}

impl Clock {
    pub(super) fn new() -> Self {
        let source = std::fs::read_to_string(SOURCE).unwrap_or_default();
        // "tsc-early" until its rate is known to the last digit.
        Self::by(matches!(source.trim(), "tsc" | "tsc-early"))
    }

    fn by(counter: bool) -> Self {
        let mut clock = Clock { counter, began: (Instant::now(), 0) };
        clock.began = clock.both();
        clock
    }

    /// Both clocks: of some tries the one between whose readings the least time went by.
    fn both(&self) -> (Instant, u64) {
        let mut best = (self.began.0, 0);
        let mut least = Duration::MAX;
        for _ in 0..5 {
            let (before, ticks) = (Instant::now(), self.now());
            let between = before.elapsed();
            if between < least {
                (best, least) = ((before, ticks), between);
            }
        }
        best
    }

    /// A reading: of the counter, or nanoseconds.
    pub(super) fn now(&self) -> u64 {
        if self.counter {
            // SAFETY: RDTSC is part of every x86-64 processor and touches no memory, and Linux leaves it to user space.
            unsafe { _rdtsc() }
        } else {
            u64::try_from(self.began.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
        }
    }

    /// What turns readings into time.
    pub(super) fn scale(&self) -> Scale {
        if !self.counter {
            return Scale { began: self.began.1, ticks: 1, nanoseconds: 1 };
        }
        let ((from, first), (to, last)) = (self.began, self.both());
        let (ticks, time) = (last.saturating_sub(first), to.saturating_duration_since(from));
        Scale { began: first, ticks: ticks.max(1), nanoseconds: time.as_nanos() }
    }
}

/// The rate of a clock, as it has been since it was made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    began: u64,
    ticks: u64,
    nanoseconds: u128,
}

impl Scale {
    /// The time that so many ticks take.
    pub(super) fn time(&self, ticks: u64) -> Duration {
        let nanoseconds = u128::from(ticks).saturating_mul(self.nanoseconds).checked_div(self.ticks.into());
        Duration::from_nanos(nanoseconds.and_then(|n| u64::try_from(n).ok()).unwrap_or(u64::MAX))
    }

    /// The time from the making of the clock to a reading of it.
    pub(super) fn at(&self, reading: u64) -> Duration {
        self.time(reading.saturating_sub(self.began))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_time() {
        let scale = Scale { began: 1000, ticks: 3_000_000, nanoseconds: 1_000_000 };
        assert_eq!(scale.time(0), Duration::ZERO);
        assert_eq!(scale.time(3000), Duration::from_micros(1));
        assert_eq!(scale.at(1000 + 3_000_000_000), Duration::from_secs(1));
        assert_eq!(scale.at(999), Duration::ZERO);
        let _largest = scale.time(u64::MAX);
        let none = Scale { began: 0, ticks: 0, nanoseconds: 0 };
        assert_eq!(none.time(1), Duration::from_nanos(u64::MAX), "nothing is divided by nothing");
    }

    /// Both ways to read it tell what has passed: what a busy machine puts between two readings is given
    /// another chance.
    #[test]
    fn readings_agree_with_the_system() {
        for clock in [Clock::by(true), Clock::by(false)] {
            let agrees = || {
                let (outside, first) = (Instant::now(), clock.now());
                let inside = Instant::now();
                while inside.elapsed() < Duration::from_millis(1) {}
                let (least, last, most) = (inside.elapsed(), clock.now(), outside.elapsed());
                let told = clock.scale().time(last.saturating_sub(first));
                least.mul_f64(0.99) <= told && told <= most.mul_f64(1.01)
            };
            assert!((0..1000).any(|_| agrees()), "{clock:?}");
        }
    }
}
