//! `cloister doctor`: what this host can do, and what is missing.

mod print;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use cloister_coco::doctor::{Finding, Host, LiveOptions, Report, Verdict, for_platform};
use cloister_coco::launch::PlatformKind;
use cloister_coco::tdx::QuoteServiceAddress;
use serde::Serialize;

use crate::exit;
use crate::refusal::Refusal;

const AFTER_HELP: &str = "Exit status: 0 all that was required is there (without --require: plain guests can \
run); 8 something required is missing, or could not be found out; 2 the command line or the recording cannot \
be used. What cannot be read as this user is said to be unknown: run it as root to know more.";

/// Flags of `cloister doctor`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct DoctorArgs {
    /// What must be able to run; a list, or given more than once
    #[arg(long, value_name = "PLATFORM", value_enum, value_delimiter = ',')]
    require: Vec<Required>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
    /// Only what is not as it should be
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
    /// Examine a recording (see --record) instead of this machine
    #[arg(long, value_name = "DIR", conflicts_with = "quote_service")]
    root: Option<PathBuf>,
    /// Also write what was read into a directory, for a bug report: nothing else of this machine
    #[arg(long, value_name = "DIR", conflicts_with = "root")]
    record: Option<PathBuf>,
    /// Quote service to try: unix:PATH or vsock:CID:PORT
    #[arg(long, value_name = "ADDRESS")]
    quote_service: Option<QuoteServiceAddress>,
}

/// What can be required.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Required {
    /// Plain guests
    Kvm,
    /// AMD SEV-SNP
    Snp,
    /// Intel TDX
    Tdx,
    /// KVM's software-protected VMs
    Protected,
    /// The simulator
    Sim,
    /// The same as kvm
    Off,
}

impl Required {
    fn platform(self) -> PlatformKind {
        match self {
            Required::Kvm | Required::Off => PlatformKind::Off,
            Required::Snp => PlatformKind::Snp,
            Required::Tdx => PlatformKind::Tdx,
            Required::Protected => PlatformKind::Protected,
            Required::Sim => PlatformKind::Sim,
        }
    }
}

/// The document of `--json`: the report, and how it answers `--require`.
#[derive(Debug, Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    report: &'a Report,
    required: Vec<String>,
    satisfied: bool,
}

pub(super) fn main(args: DoctorArgs) -> ExitCode {
    match examine(args, &mut io::stdout().lock()) {
        Ok(status) => ExitCode::from(status),
        Err(refusal) => {
            eprintln!("cloister doctor: {refusal}");
            ExitCode::from(exit::BAD_INPUT)
        }
    }
}

/// Writes the report, and returns the exit status.
fn examine(args: DoctorArgs, out: &mut impl Write) -> Result<u8, Refusal> {
    let host = match &args.root {
        Some(root) => Host::recorded(root).map_err(|e| {
            Refusal::new(
                format_args!("{} cannot be used as a recording", root.display()),
                e,
                "name a directory that `cloister doctor --record DIR` of this version wrote",
            )
        })?,
        None => Host::this(&LiveOptions { quote_service: args.quote_service.clone(), firmware: true }),
    };
    if let Some(to) = &args.record {
        host.record(to)
            .map_err(|e| Refusal::new("the recording cannot be written", e, "name a new directory"))?;
    }
    let report = Report::of(&host);
    let required: Vec<_> = match args.require.as_slice() {
        [] => vec![PlatformKind::Off],
        required => required.iter().map(|r| r.platform()).collect(),
    };
    let satisfied = required.iter().all(|kind| report.verdict(*kind) == Verdict::Can);
    let asked: Vec<_> = args.require.iter().map(|r| r.platform()).collect();
    let written = if args.json {
        let required = asked.iter().map(ToString::to_string).collect();
        print::json(out, &Document { report: &report, required, satisfied })
    } else {
        print::text(out, &report, &asked, args.quiet)
    };
    // A reader that closes early has seen what it wanted.
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Refusal::new("the report cannot be written", error, "make room, or write it elsewhere"))
        }
        _ => Ok(if satisfied { exit::OK } else { exit::HOST_LACKS }),
    }
}

/// What the doctor finds, as lines to put under the message of a launch that failed. Empty when nothing
/// speaks against the platform.
pub(super) fn what_is_missing(kind: PlatformKind) -> String {
    print::suspects(&for_platform(kind))
}

/// A refusal to launch on a platform that this host does not have: with the doctor's first finding.
pub(super) fn host_lacks(kind: PlatformKind, why: &str, otherwise: &str) -> Refusal {
    refusal(kind, for_platform(kind).first(), why, otherwise)
}

fn refusal(kind: PlatformKind, first: Option<&Finding>, why: &str, otherwise: &str) -> Refusal {
    let what = format!("this host cannot launch a guest on `{kind}`");
    match first.and_then(|finding| Some((finding, finding.remedy.as_ref()?))) {
        Some((Finding { what: lacking, observed, source, .. }, remedy)) => Refusal::new(
            what,
            format_args!("{why}; first of all: {lacking}: {observed} ({source})"),
            format_args!("{remedy}; `cloister doctor --require {kind}` has the rest; or {otherwise}"),
        ),
        None => Refusal::new(what, why, otherwise),
    }
}

#[cfg(test)]
mod tests;
