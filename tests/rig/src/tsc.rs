//! The rate of this machine's time-stamp counter, which is also the one of QEMU's emulated processor.
#![allow(unsafe_code)] // reading the counter

use std::{
    arch::x86_64::_rdtsc,
    thread,
    time::{Duration, Instant},
};

/// The rate in kHz, to a few millionths.
pub(crate) fn khz() -> u64 {
    let (first, began) = sample();
    thread::sleep(Duration::from_millis(20));
    let (last, ended) = sample();
    let nanoseconds = ended.duration_since(began).as_nanos().max(1);
    let ticks = u128::from(last.saturating_sub(first));
    u64::try_from(ticks * 1_000_000 / nanoseconds).unwrap_or_default()
}

/// The counter at an instant: of many tries the one that was interrupted least.
fn sample() -> (u64, Instant) {
    let tries = (0..100).map(|_| {
        let (before, instant, after) = (counter(), Instant::now(), counter());
        (after.wrapping_sub(before), before, instant)
    });
    let (window, before, instant) = tries.min_by_key(|(window, ..)| *window).expect("there are tries");
    (before.wrapping_add(window / 2), instant)
}

fn counter() -> u64 {
    // SAFETY: RDTSC is part of every x86-64 processor, reads no memory, and Linux leaves it to user space.
    unsafe { _rdtsc() }
}

#[cfg(test)]
mod tests {
    use super::khz;

    #[test]
    fn two_measurements_agree() {
        let (one, two) = (khz(), khz());
        assert!(one.abs_diff(two) < one / 1000, "{one} kHz and {two} kHz");
    }
}
