//! One line of a report: what was looked at, what it said, and what to do about it.

use serde::{Serialize, Serializer};

use crate::launch::PlatformKind;

/// How good or bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Something to know; it prevents nothing.
    Note,
    /// It could not be found out.
    Unknown,
    /// What is needed is not there.
    Missing,
}

impl Level {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Unknown => "unknown",
            Level::Missing => "missing",
        }
    }
}

/// What a finding counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The platforms run or do not run by this: what the kernel itself says that it can do.
    Decides,
    /// A cause: it explains why something that decides is missing. Where nothing is missing, it is a note.
    Explains,
    /// Good to have.
    Advises,
}

/// Where in the host it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// The processor.
    Cpu,
    /// Settings of the machine's firmware (BIOS), as far as they show.
    Bios,
    /// The kernel's version and configuration.
    Kernel,
    /// The IOMMU.
    Iommu,
    /// Modules and their parameters.
    Module,
    /// AMD's secure processor.
    Psp,
    /// Intel's TDX module.
    Tdx,
    /// Device nodes and who may open them.
    Device,
    /// What KVM offers.
    Kvm,
    /// The service that turns a TD's reports into quotes.
    Quotes,
    /// Limits of this process.
    Limits,
    /// Memory.
    Memory,
    /// Firmware images for guests.
    Firmware,
}

impl Area {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Area::Cpu => "cpu",
            Area::Bios => "bios",
            Area::Kernel => "kernel",
            Area::Iommu => "iommu",
            Area::Module => "module",
            Area::Psp => "psp",
            Area::Tdx => "tdx",
            Area::Device => "device",
            Area::Kvm => "kvm",
            Area::Quotes => "quotes",
            Area::Limits => "limits",
            Area::Memory => "memory",
            Area::Firmware => "firmware",
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A name that stays the same from version to version: `kvm.vm-type.snp`.
    pub id: &'static str,
    /// Where it lies.
    pub area: Area,
    /// How good or bad it is.
    pub level: Level,
    /// What it counts for.
    pub role: Role,
    /// The platforms that it is about.
    #[serde(serialize_with = "names")]
    pub platforms: &'static [PlatformKind],
    /// What was looked at, in a few words.
    pub what: &'static str,
    /// Where it was read.
    pub source: String,
    /// What was read there, or why it could not be.
    pub observed: String,
    /// What was expected.
    pub expected: &'static str,
    /// The one thing that mends it.
    pub remedy: Option<String>,
}

fn names<S: Serializer>(kinds: &[PlatformKind], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(kinds.iter().map(ToString::to_string))
}

/// What a check is about, before anything was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject {
    pub(super) id: &'static str,
    pub(super) area: Area,
    pub(super) role: Role,
    pub(super) platforms: &'static [PlatformKind],
    pub(super) what: &'static str,
    pub(super) expected: &'static str,
}

impl Subject {
    pub(super) fn ok(&self, source: impl Into<String>, observed: impl Into<String>) -> Finding {
        self.finding(Level::Ok, source.into(), observed.into(), None)
    }

    pub(super) fn missing(
        &self,
        source: impl Into<String>,
        observed: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        self.finding(Level::Missing, source.into(), observed.into(), Some(remedy.into()))
    }

    /// Something to know, with no remedy when there is nothing to mend.
    pub(super) fn note(
        &self,
        source: impl Into<String>,
        observed: impl Into<String>,
        remedy: Option<&str>,
    ) -> Finding {
        self.finding(Level::Note, source.into(), observed.into(), remedy.map(str::to_owned))
    }

    pub(super) fn unknown(
        &self,
        source: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        self.finding(Level::Unknown, source.into(), why.into(), Some(remedy.into()))
    }

    /// Good if `good`, missing otherwise.
    pub(super) fn judge(
        &self,
        good: bool,
        source: impl Into<String>,
        observed: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        if good { self.ok(source, observed) } else { self.missing(source, observed, remedy) }
    }

    fn finding(&self, level: Level, source: String, observed: String, remedy: Option<String>) -> Finding {
        let Subject { id, area, role, platforms, what, expected } = *self;
        let observed = if observed.trim().is_empty() { "nothing".to_owned() } else { observed };
        Finding { id, area, level, role, platforms, what, source, observed, expected, remedy }
    }
}
