//! What conversions cost: counters, and a time line of the last ones.

use std::collections::VecDeque;
use std::time::Duration;

use super::clock::{Clock, Scale};
use super::{PAGE_SIZE, Target};

/// How many conversions the time line remembers.
pub const TIMELINE_LEN: usize = 1024;

/// Classes of the histogram of range sizes: up to 1, 2, 4, … pages; the last takes all that is larger.
pub const SIZE_CLASSES: usize = 20;

/// Conversions in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DirectionStats {
    /// Conversions done.
    pub conversions: u64,
    /// Pages that changed.
    pub pages: u64,
    /// Time spent, from the request to the new state.
    pub time: Duration,
    /// The longest of them.
    pub longest: Duration,
}

/// What conversions have cost so far, those of the launch itself among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConvertStats {
    /// To private.
    pub to_private: DirectionStats,
    /// To shared.
    pub to_shared: DirectionStats,
    /// Conversions refused.
    pub refused: u64,
    /// Bytes of RAM that are private now.
    pub private_bytes: u64,
    /// Bytes of RAM that are shared now.
    pub shared_bytes: u64,
    /// Conversions done by size of their range: class n counts those of up to 2^n pages.
    pub sizes: [u64; SIZE_CLASSES],
}

impl ConvertStats {
    /// Conversions done, in both directions.
    pub fn conversions(&self) -> u64 {
        self.to_private.conversions.saturating_add(self.to_shared.conversions)
    }

    /// Pages that are private now.
    pub fn private_pages(&self) -> u64 {
        self.private_bytes / PAGE_SIZE
    }
}

/// One conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvertEvent {
    /// When it was done, from the making of the machine.
    pub at: Duration,
    /// First guest-physical address asked for.
    pub gpa: u64,
    /// 4 KiB pages asked for.
    pub pages: u64,
    /// What they were to become.
    pub to: Target,
    /// How long it took.
    pub took: Duration,
    /// Whether it was done, and not refused.
    pub done: bool,
}

/// What is written down of conversions. Times are readings of a [`Clock`], and told in seconds only when somebody asks.
#[derive(Debug, Default)]
pub(super) struct Record {
    to_private: Sum,
    to_shared: Sum,
    refused: u64,
    sizes: [u64; SIZE_CLASSES],
    timeline: VecDeque<Line>,
}

/// Conversions in one direction, see [`DirectionStats`].
#[derive(Debug, Default)]
struct Sum {
    conversions: u64,
    pages: u64,
    ticks: u64,
    longest: u64,
}

/// A conversion, from its request to its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) began: u64,
    pub(super) ended: u64,
    pub(super) gpa: u64,
    pub(super) pages: u64,
    pub(super) to: Target,
    /// How many pages are not what they were before; none where it was refused.
    pub(super) changed: Option<u64>,
}

impl Line {
    fn ticks(&self) -> u64 {
        self.ended.saturating_sub(self.began)
    }
}

impl Sum {
    fn told(&self, scale: Scale) -> DirectionStats {
        DirectionStats {
            conversions: self.conversions,
            pages: self.pages,
            time: scale.time(self.ticks),
            longest: scale.time(self.longest),
        }
    }
}

impl Record {
    /// A conversion has ended.
    pub(super) fn conversion(&mut self, line: &Line) {
        match line.changed {
            Some(changed) => {
                let sum = match line.to {
                    Target::Private => &mut self.to_private,
                    Target::Shared => &mut self.to_shared,
                };
                sum.conversions = sum.conversions.saturating_add(1);
                sum.pages = sum.pages.saturating_add(changed);
                sum.ticks = sum.ticks.saturating_add(line.ticks());
                sum.longest = sum.longest.max(line.ticks());
                if let Some(class) = self.sizes.get_mut(size_class(line.pages)) {
                    *class = class.saturating_add(1);
                }
            }
            None => self.refused = self.refused.saturating_add(1),
        }
        if self.timeline.len() >= TIMELINE_LEN {
            self.timeline.pop_front();
        }
        self.timeline.push_back(*line);
    }

    /// The counters, with `private_bytes` of `ram_bytes` private now.
    pub(super) fn stats(&self, clock: &Clock, private_bytes: u64, ram_bytes: u64) -> ConvertStats {
        let scale = clock.scale();
        ConvertStats {
            to_private: self.to_private.told(scale),
            to_shared: self.to_shared.told(scale),
            refused: self.refused,
            private_bytes,
            shared_bytes: ram_bytes.saturating_sub(private_bytes),
            sizes: self.sizes,
        }
    }

    pub(super) fn timeline(&self, clock: &Clock) -> Vec<ConvertEvent> {
        let scale = clock.scale();
        let event = |line: &Line| ConvertEvent {
            at: scale.at(line.ended),
            gpa: line.gpa,
            pages: line.pages,
            to: line.to,
            took: scale.time(line.ticks()),
            done: line.changed.is_some(),
        };
        self.timeline.iter().map(event).collect()
    }
}

/// The class of a range of `pages` pages: the least n with `pages <= 2^n`.
fn size_class(pages: u64) -> usize {
    let bits = u64::BITS.saturating_sub(pages.saturating_sub(1).leading_zeros());
    (bits as usize).min(SIZE_CLASSES.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_classed_by_powers_of_two() {
        let classes: Vec<_> = [1, 2, 3, 4, 512, 513, u64::MAX].map(size_class).to_vec();
        assert_eq!(classes, [0, 1, 2, 2, 9, 10, SIZE_CLASSES - 1]);
    }

    #[test]
    fn the_time_line_forgets_the_oldest() {
        let (clock, mut record) = (Clock::new(), Record::default());
        for gpa in 0..TIMELINE_LEN as u64 + 3 {
            let (began, ended) = (clock.now(), clock.now());
            record.conversion(&Line { began, ended, gpa, pages: 1, to: Target::Shared, changed: Some(1) });
        }
        let timeline = record.timeline(&clock);
        assert_eq!((timeline.len(), timeline[0].gpa), (TIMELINE_LEN, 3));
        assert_eq!(record.stats(&clock, 0, 0).to_shared.conversions, TIMELINE_LEN as u64 + 3);
        assert!(timeline.is_sorted_by_key(|event| event.at));
    }
}
