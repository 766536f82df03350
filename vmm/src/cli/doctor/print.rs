//! Reports as text and as JSON.

use std::fmt::Write as _;
use std::io::{self, Write};

use cloister_coco::doctor::{Area, Finding, Level, Report, Verdict};
use cloister_coco::launch::PlatformKind;
use serde::Serialize;

pub(super) fn json(out: &mut impl Write, document: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, document)?;
    writeln!(out)
}

pub(super) fn text(
    out: &mut impl Write,
    report: &Report,
    required: &[PlatformKind],
    quiet: bool,
) -> io::Result<()> {
    let machine = &report.machine;
    writeln!(out, "{}, Linux {}", or_unknown(&machine.cpu), or_unknown(&machine.kernel))?;
    if !machine.bios.is_empty() {
        writeln!(out, "firmware of the machine: {}", machine.bios)?;
    }
    let mut area: Option<Area> = None;
    for finding in report.findings.iter().filter(|f| !quiet || f.level != Level::Ok) {
        if area != Some(finding.area) {
            writeln!(out, "\n{}", finding.area.name())?;
            area = Some(finding.area);
        }
        out.write_all(line(finding).as_bytes())?;
    }
    writeln!(out)?;
    let able = |verdict: Verdict| {
        let of = report.platforms.iter().filter(move |p| p.verdict == verdict);
        of.map(|p| p.platform.to_string()).collect::<Vec<_>>()
    };
    let can = able(Verdict::Can);
    writeln!(
        out,
        "this host can run: {}",
        if can.is_empty() { "nothing".to_owned() } else { can.join(", ") }
    )?;
    for platform in report.platforms.iter().filter(|p| p.verdict != Verdict::Can) {
        let says = if platform.verdict == Verdict::Cannot { "cannot run" } else { "is not known to run" };
        let kind = platform.platform;
        match report.obstacles(kind).first() {
            Some(first) => {
                writeln!(out, "{says} {kind}: {} [{}]: {}", first.what, first.id, first.observed)?;
                if let Some(remedy) = &first.remedy {
                    writeln!(out, "    first: {remedy}")?;
                }
            }
            None => writeln!(out, "{says} {kind}")?,
        }
    }
    for kind in required {
        let answer = match report.verdict(*kind) {
            Verdict::Can => "there",
            Verdict::Cannot => "MISSING",
            Verdict::Unknown => "UNKNOWN",
        };
        writeln!(out, "required: {kind}: {answer}")?;
    }
    Ok(())
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

/// One finding: what was read, where, and what was expected; on one line if all is well, and otherwise with what
/// mends it.
fn line(finding: &Finding) -> String {
    let Finding { id, level, what, source, observed, expected, remedy, .. } = finding;
    let mut text = format!("  {:<8}{what}: {observed}  ({source}", level.name());
    if *level == Level::Ok {
        let _ = writeln!(text, "; expected: {expected})");
    } else {
        let _ = write!(text, ")\n          expected: {expected}  [{id}]\n");
        if let Some(remedy) = remedy {
            let _ = writeln!(text, "          mend it:  {remedy}");
        }
    }
    text
}

/// Findings under the message of a launch that failed.
pub(super) fn suspects(findings: &[Finding]) -> String {
    let mut text = String::new();
    if !findings.is_empty() {
        text.push_str("\nthe doctor finds:");
        for finding in findings {
            text.push('\n');
            text.push_str(line(finding).trim_end());
        }
    }
    text
}
