//! What this host can do, and what is missing.
//!
//! [`Host`] is this machine or a recording of one: files under a root, and [`Answers`] to what is not a file.
//! [`Report::of`] runs every check over it. Each [`Finding`] says what was read, where, what was expected, and
//! the one thing that mends it. What KVM itself offers decides whether a platform can run; everything else
//! explains why it does not, the first cause first.

mod answer;
mod check;
mod distil;
mod finding;
mod host;
mod live;
mod record;
mod report;

pub use answer::{Answer, Answers, Image, Kvm, Node, QuoteService, TdxCapabilities};
pub use finding::{Area, Finding, Level, Role};
pub use host::{Host, RecordingError};
pub use live::LiveOptions;
pub use report::{Machine, PlatformReport, Report, Summary, Verdict};

use crate::launch::PlatformKind;

/// What this machine lacks for guests of this platform, the first cause first: what a launch that failed shows
/// (see [`Report::suspects`]). Empty if nothing that this machine says speaks against it.
///
/// Cheap: reads some thirty small files, and asks `/dev/kvm` and `/dev/sev`.
pub fn for_platform(kind: PlatformKind) -> Vec<Finding> {
    let report = Report::of(&Host::this(&LiveOptions::default()));
    report.suspects(kind).into_iter().cloned().collect()
}

#[cfg(test)]
mod tests;
