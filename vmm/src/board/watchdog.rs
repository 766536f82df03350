//! Firmware that was told which kernel to expect refuses another one by looping, silently
//! (edk2's OvmfPkg/AmdSev/BlobVerifierLibSevHashes). The watchdog says so in its place.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::handover::{Mismatch, Part, Progress, Witness};

/// Looks from time to time whether the guest still does something.
#[derive(Debug)]
pub(crate) struct Watchdog {
    witness: Arc<Witness>,
    progress: Arc<Progress>,
    seen: u64,
    quiet: u32,
}

/// The firmware was handed something else than it was told to expect, and got no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused(Mismatch);

impl Watchdog {
    /// How often to look.
    pub(crate) const PERIOD: Duration = Duration::from_secs(1);
    /// Looks without a change in between, after which the guest stands still.
    const QUIET: u32 = 3;
    /// A guest that has done this much since the delivery is past its firmware's check. Linux does more
    /// while it looks at its PCI bus.
    const PAST_THE_CHECK: u64 = 2000;

    pub(super) fn new(witness: Arc<Witness>, progress: Arc<Progress>) -> Self {
        Watchdog { witness, progress, seen: 0, quiet: 0 }
    }

    /// One look; whether the firmware has refused what it was handed.
    pub(crate) fn look(&mut self) -> Option<Refused> {
        let now = self.progress.so_far();
        let before = std::mem::replace(&mut self.seen, now);
        self.quiet = if now == before { self.quiet.saturating_add(1) } else { 0 };
        let at_the_check = now.saturating_sub(self.witness.last_delivery()) < Self::PAST_THE_CHECK;
        if self.quiet < Self::QUIET || !at_the_check {
            return None;
        }
        self.witness.mismatch().map(Refused)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch { part, expected, delivered } = &self.0;
        let what = match part {
            Part::Kernel => "kernel",
            Part::Initrd => "initrd",
        };
        write!(
            f,
            "the firmware stands still: it refuses the {what}, which is not the one that was launched\n  \
             SHA-256 in the hash table {}\n  SHA-256 of what it got    {}",
            hex::encode(expected),
            hex::encode(delivered)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::handover::tests::{deliver, file, witness};
    use super::*;

    /// The watchdog over a kernel that was delivered changed or not.
    fn watchdog(bytes: &[u8]) -> (Watchdog, Arc<Progress>) {
        let (_kept, kernel) = file(bytes);
        let progress = Arc::new(Progress::default());
        let witness = witness(&kernel, &progress);
        deliver(&witness, &kernel);
        (Watchdog::new(witness, Arc::clone(&progress)), progress)
    }

    fn looks(dog: &mut Watchdog, count: u32) -> bool {
        (0..count).any(|_| dog.look().is_some())
    }

    #[test]
    fn a_guest_that_stands_still_with_another_kernel_was_refused_it() {
        let (mut dog, progress) = watchdog(b"setup and evil");
        progress.count();
        assert!(!looks(&mut dog, 3), "it did something before the first look");
        let told = dog.look().unwrap().to_string();
        assert!(told.contains("kernel") && told.lines().count() == 3, "{told}");
    }

    #[test]
    fn a_guest_that_goes_on_is_left_alone() {
        let (mut dog, progress) = watchdog(b"setup and evil");
        for _ in 0..10 {
            progress.count();
            assert!(!looks(&mut dog, 2));
        }
        (0..3000).for_each(|_| progress.count());
        assert!(!looks(&mut dog, 10), "it is past the check, and idle");
    }

    #[test]
    fn a_guest_that_stands_still_with_the_right_kernel_does_so_for_reasons_of_its_own() {
        assert!(!looks(&mut watchdog(b"setup and code").0, 10));
    }
}
