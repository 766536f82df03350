//! All findings together, and what they come to.

use serde::{Serialize, Serializer};

use super::check::{self, ALL, Facts};
use super::finding::{Finding, Level, Role};
use super::host::Host;
use crate::launch::PlatformKind;

/// Whether guests of a platform can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All that decides is there.
    Can,
    /// Something that decides is missing.
    Cannot,
    /// Something that decides could not be found out.
    Unknown,
}

/// What the findings come to for one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlatformReport {
    /// Which.
    #[serde(serialize_with = "name")]
    pub platform: PlatformKind,
    /// Whether it can run.
    pub verdict: Verdict,
    /// Ids of what prevents it, the first cause first. Empty if it can run.
    pub because: Vec<&'static str>,
}

fn name<S: Serializer>(kind: &PlatformKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(kind)
}

/// Which machine it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// The kernel's release.
    pub kernel: String,
    /// Vendor, version and date of the machine's firmware; empty if it does not say.
    pub bios: String,
    /// Whether it is itself a virtual machine.
    pub virtual_machine: bool,
    /// Where this was recorded, or that it was asked now.
    pub origin: String,
}

/// How many findings of each level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// As they should be.
    pub ok: usize,
    /// Things to know.
    pub note: usize,
    /// Not found out.
    pub unknown: usize,
    /// Not there.
    pub missing: usize,
}

/// A host, examined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Version of this form: another number means that something was renamed or taken away.
    pub format: u32,
    /// Which machine.
    pub machine: Machine,
    /// The findings, causes before what they cause.
    pub findings: Vec<Finding>,
    /// What they come to, the best platform first.
    pub platforms: Vec<PlatformReport>,
    /// Their number.
    pub summary: Summary,
}

impl Report {
    /// The version of this form.
    pub const FORMAT: u32 = 1;

    /// Examines a host.
    pub fn of(host: &Host) -> Self {
        let mut findings = check::run(host);
        let mut platforms: Vec<_> = ALL.iter().map(|kind| judge(*kind, &findings)).collect();
        // A cause of nothing is something to know: what KVM says counts more than any sign of it.
        let runs =
            |kind: &PlatformKind| platforms.iter().any(|p| p.platform == *kind && p.verdict == Verdict::Can);
        for finding in &mut findings {
            let explains = finding.role == Role::Explains && finding.level > Level::Note;
            if explains && finding.platforms.iter().any(runs) {
                finding.level = Level::Note;
            }
        }
        platforms = ALL.iter().map(|kind| judge(*kind, &findings)).collect();
        let mut summary = Summary::default();
        for finding in &findings {
            match finding.level {
                Level::Ok => summary.ok += 1,
                Level::Note => summary.note += 1,
                Level::Unknown => summary.unknown += 1,
                Level::Missing => summary.missing += 1,
            }
        }
        Report { format: Self::FORMAT, machine: machine(host), findings, platforms, summary }
    }

    /// What the findings come to for a platform.
    pub fn verdict(&self, kind: PlatformKind) -> Verdict {
        self.platforms.iter().find(|p| p.platform == kind).map_or(Verdict::Unknown, |p| p.verdict)
    }

    /// What keeps a platform from running, the first cause first. Empty if it can run.
    pub fn obstacles(&self, kind: PlatformKind) -> Vec<&Finding> {
        let Some(report) = self.platforms.iter().find(|p| p.platform == kind) else { return Vec::new() };
        let find = |id: &&'static str| self.finding(id);
        report.because.iter().filter_map(find).collect()
    }

    /// What to look at when a launch on a platform failed: what keeps it from running, or else the signs of
    /// trouble that did not count because KVM offers it all the same.
    pub fn suspects(&self, kind: PlatformKind) -> Vec<&Finding> {
        let obstacles = self.obstacles(kind);
        if !obstacles.is_empty() {
            return obstacles;
        }
        let sign =
            |f: &&Finding| f.role == Role::Explains && f.level != Level::Ok && f.platforms.contains(&kind);
        self.findings.iter().filter(sign).collect()
    }

    /// A finding by its id.
    pub fn finding(&self, id: &str) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.id == id)
    }
}

fn judge(platform: PlatformKind, findings: &[Finding]) -> PlatformReport {
    let about = |f: &&Finding| f.platforms.contains(&platform);
    let worst = findings.iter().filter(about).filter(|f| f.role == Role::Decides).map(|f| f.level).max();
    let verdict = match worst {
        None | Some(Level::Unknown) => Verdict::Unknown,
        Some(Level::Missing) => Verdict::Cannot,
        Some(Level::Ok | Level::Note) => Verdict::Can,
    };
    let bad = match verdict {
        Verdict::Can => return PlatformReport { platform, verdict, because: Vec::new() },
        Verdict::Cannot => Level::Missing,
        Verdict::Unknown => Level::Unknown,
    };
    let counts = |f: &&Finding| f.role != Role::Advises && f.level >= bad;
    let because = findings.iter().filter(about).filter(counts).map(|f| f.id).collect();
    PlatformReport { platform, verdict, because }
}

fn machine(host: &Host) -> Machine {
    let facts = Facts::of(host);
    let dmi = |name: &str| host.line(&format!("/sys/class/dmi/id/{name}")).value().cloned();
    let bios = ["bios_vendor", "bios_version", "bios_date"].iter().filter_map(|name| dmi(name));
    Machine {
        cpu: facts.model.clone(),
        kernel: host.line("/proc/sys/kernel/osrelease").value().cloned().unwrap_or_default(),
        bios: bios.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" "),
        virtual_machine: facts.is_virtual(),
        origin: host.answers.origin.clone(),
    }
}
