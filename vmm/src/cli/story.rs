//! How cloister tells what it does: one line a step, with its time.

use std::fmt::Display;
use std::io::Write;
use std::time::{Duration, Instant};

use cloister_coco::launch::Choice;
use cloister_firmware::plan::LaunchPlan;

/// Prints steps as they are done.
pub(super) struct Story {
    to: To,
    began: Instant,
    last: Instant,
}

/// Where a story goes: standard error where the guest may have standard output.
#[derive(Debug, Clone, Copy)]
pub(super) enum To {
    Stdout,
    Stderr,
}

impl To {
    /// One line. In raw mode too, where a line feed does not return the carriage by itself: output
    /// processing stays on.
    pub(super) fn line(self, text: impl Display) {
        // A terminal that is gone is no reason to fail.
        let _ = match self {
            To::Stdout => writeln!(std::io::stdout(), "{text}"),
            To::Stderr => writeln!(std::io::stderr(), "{text}"),
        };
    }

    /// A line under the last step.
    pub(super) fn more(self, what: impl Display) {
        self.line(format_args!("{:>9}  {:<9} {what}", "", ""));
    }

    /// A line that nobody can overlook.
    pub(super) fn loud(self, what: &str) {
        self.line(format_args!("\n  *** {what} ***\n"));
    }
}

impl Story {
    pub(super) fn begin(to: To) -> Self {
        let now = Instant::now();
        Story { to, began: now, last: now }
    }

    pub(super) fn to(&self) -> To {
        self.to
    }

    /// A step is done; it took the time since the last one.
    pub(super) fn step(&mut self, name: &str, what: impl Display) {
        let now = Instant::now();
        self.to.line(format_args!("{:>9}  {name:<9} {what}", millis(now - self.last)));
        self.last = now;
    }

    /// More about the step before.
    pub(super) fn more(&self, what: impl Display) {
        self.to.more(what);
    }

    /// Time since the beginning.
    pub(super) fn total(&self) -> Duration {
        self.began.elapsed()
    }
}

pub(super) fn millis(d: Duration) -> String {
    format!("{:.1} ms", d.as_secs_f64() * 1e3)
}

/// The platforms that were passed over, one line each.
pub(super) fn passed_over(story: &Story, choice: &Choice) {
    for c in &choice.passed_over {
        story.more(format_args!("not {}: {}", c.kind, c.why_not));
    }
}

/// The pages of a plan as a table.
pub(super) fn memory_map(story: &Story, plan: &LaunchPlan) {
    story.more(format_args!("{:<25} {:>7}  {:<10} what", "guest-physical", "pages", "kind"));
    for run in &plan.pages {
        let range = format!("{:#011x}..{:#011x}", run.gpa, run.end());
        let kind = format!("{:?}", run.kind).to_lowercase();
        story.more(format_args!("{range:<25} {:>7}  {kind:<10} {}", run.pages, run.label));
    }
}
