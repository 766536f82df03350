//! How often a guest may try.

use std::time::{Duration, Instant};

/// A bucket of attempts that fills up at a steady rate.
#[derive(Debug)]
pub(super) struct Limiter {
    left: u32,
    burst: u32,
    per_attempt: Duration,
    since: Instant,
}

impl Limiter {
    pub(super) fn new(burst: u32, per_minute: u32, now: Instant) -> Self {
        let per_attempt = Duration::from_secs(60).checked_div(per_minute).unwrap_or(Duration::MAX);
        Self { left: burst, burst, per_attempt, since: now }
    }

    /// Whether one more attempt is allowed now.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        while self.left < self.burst {
            match self.since.checked_add(self.per_attempt) {
                Some(next) if next <= now => {
                    self.left = self.left.saturating_add(1);
                    self.since = next;
                }
                _ => break,
            }
        }
        if self.left == self.burst {
            self.since = now;
        }
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let start = Instant::now();
        let mut limiter = Limiter::new(3, 5, start);
        let mut at = |seconds| limiter.take(start + Duration::from_secs(seconds));
        let tries = [0, 0, 0, 0, 11, 12, 12, 24, 24, 600, 600, 600, 600].map(&mut at);
        let expected = [true, true, true, false, false, true, false, true, false, true, true, true, false];
        assert_eq!(tries, expected);
    }

    #[test]
    fn a_rate_of_zero_leaves_the_burst() {
        let start = Instant::now();
        let mut limiter = Limiter::new(1, 0, start);
        assert!(limiter.take(start));
        assert!(!limiter.take(start + Duration::from_secs(1 << 30)));
    }
}
