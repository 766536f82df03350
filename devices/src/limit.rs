//! Rate-limited logs, for whatever a guest can make happen at will.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Lets a few messages through each second and counts the rest, so that a guest cannot fill the host's
/// disk with our log. It must live as long as the device: one that a guest's reset makes anew limits nothing.
#[derive(Debug)]
pub struct LogLimit {
    per_second: u32,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    passed: u32,
    suppressed: u64,
    #[cfg(test)]
    asked: u64,
}

impl LogLimit {
    /// At most `per_second` messages in any one second.
    pub const fn new(per_second: u32) -> Self {
        let window = Window {
            began: None,
            passed: 0,
            suppressed: 0,
            #[cfg(test)]
            asked: 0,
        };
        LogLimit { per_second, window: Mutex::new(window) }
    }

    /// Whether to log now: `Some` with the number of messages kept back since the last one.
    pub fn allow(&self) -> Option<u64> {
        self.allow_at(Instant::now())
    }

    /// How often it was asked, whatever it said.
    #[cfg(test)]
    pub(crate) fn asked(&self) -> u64 {
        self.window.lock().unwrap_or_else(|e| e.into_inner()).asked
    }

    fn allow_at(&self, now: Instant) -> Option<u64> {
        let mut w = self.window.lock().unwrap_or_else(|e| e.into_inner());
        #[cfg(test)]
        {
            w.asked = w.asked.saturating_add(1);
        }
        let fresh = w.began.is_none_or(|t| now.saturating_duration_since(t) >= Duration::from_secs(1));
        if fresh {
            w.began = Some(now);
            w.passed = 0;
        }
        if w.passed >= self.per_second {
            w.suppressed = w.suppressed.saturating_add(1);
            return None;
        }
        w.passed = w.passed.saturating_add(1);
        Some(std::mem::take(&mut w.suppressed))
    }
}

impl Default for LogLimit {
    fn default() -> Self {
        LogLimit::new(5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_to_the_rate_and_the_rest_is_counted() {
        let limit = LogLimit::new(2);
        let t = Instant::now();
        let passed: Vec<_> = (0..5).map(|_| limit.allow_at(t)).collect();
        assert_eq!(passed, [Some(0), Some(0), None, None, None]);
        assert_eq!(limit.allow_at(t + Duration::from_secs(1)), Some(3));
    }
}
