//! How far something has come: one line that is drawn over again on a terminal, nothing elsewhere.

use std::io::{self, IsTerminal, Write};

use crate::board::ProgressSink;

/// Cells of the bar.
const CELLS: u64 = 32;

/// Draws the progress of `name`, in MiB, on standard error while it is under way.
pub(super) fn bar(name: &'static str) -> ProgressSink {
    let terminal = io::stderr().is_terminal();
    let mut drawn = None;
    Box::new(move |done, total| {
        let now = line(name, done, total);
        if terminal && drawn.as_ref() != Some(&now) {
            let end = if done >= total { "\r\x1b[K" } else { "" };
            let _ = write!(io::stderr(), "\r{now}{end}");
            drawn = Some(now);
        }
    })
}

fn line(name: &str, done: u64, total: u64) -> String {
    let filled = done.min(total).saturating_mul(CELLS).checked_div(total).unwrap_or(CELLS) as usize;
    let (full, empty) = ("=".repeat(filled), " ".repeat(CELLS as usize - filled));
    format!("{:>9}  {name:<9} [{full}{empty}] {} of {} MiB", "", done >> 20, total >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_empty_half_full_and_full() {
        let cells = |done, total| line("x", done, total).matches('=').count();
        assert_eq!((cells(0, 64 << 20), cells(32 << 20, 64 << 20), cells(64 << 20, 64 << 20)), (0, 16, 32));
        assert_eq!((cells(0, 0), cells(9, 3)), (32, 32), "odd numbers draw a full bar");
        assert!(line("x", 1 << 20, 3 << 20).ends_with("1 of 3 MiB"));
    }
}
