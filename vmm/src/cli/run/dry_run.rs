//! `--dry-run`: the whole launch, over nothing; and `--trace-launch`: what a launch asks of the kernel.

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use cloister_coco::launch::Trace;
use cloister_firmware::measure::Digest384;

use super::check::Checked;
use super::plan::plan;
use super::platform::choose_platform;
use crate::board::{LaunchOptions, dry_run as launch};
use crate::cli::story::{Story, To, memory_map, passed_over};
use crate::exit;
use crate::refusal::Refusal;

/// The file that launches are written down in, one after the other.
pub(super) struct TraceFile {
    path: PathBuf,
    file: File,
}

impl TraceFile {
    pub(super) fn create(path: PathBuf) -> Result<Self, Refusal> {
        let file = File::create(&path).map_err(|e| {
            Refusal::new(
                format_args!("cannot write the launch down in {}", path.display()),
                e,
                "give --trace-launch the path of a file that can be made",
            )
        })?;
        Ok(TraceFile { path, file })
    }

    /// A trace of one launch, behind those that are there.
    pub(super) fn trace(&self) -> Result<Arc<Trace>, String> {
        let file = self.file.try_clone().map_err(|e| format!("{}: {e}", self.path.display()))?;
        Ok(Arc::new(Trace::new(Box::new(file))))
    }

    /// The launch is over; one line about what was written.
    pub(super) fn end(&self, trace: &Trace) -> String {
        match trace.end() {
            Ok(lines) => format!("{lines} ioctls written down in {}", self.path.display()),
            Err(e) => format!("the trace in {} is not whole: {e}", self.path.display()),
        }
    }
}

/// Plans the guest and goes through its launch without a VM.
pub(super) fn dry_run(checked: &Checked, file: Option<&TraceFile>) -> Result<ExitCode, Refusal> {
    let mut story = Story::begin(To::Stderr);
    let choice = choose_platform(&checked.guest, None)?;
    let kind = choice.kind;
    story.step("platform", format_args!("{kind}, dry: no VM is made and /dev/kvm is not used"));
    passed_over(&story, &choice);
    let planned = plan(&checked.guest, kind, None)?;
    let vcpus = planned.plan.vcpus.len();
    story.step("plan", format_args!("{vcpus} vCPUs, {} MiB", checked.guest.memory >> 20));
    memory_map(&story, &planned.plan);
    let predicted = planned.predicted();
    if kind.has_evidence() {
        story.more(format_args!("predicted launch digest {predicted}"));
    }

    let trace = file.map(TraceFile::trace).transpose().map_err(failed)?;
    let options =
        LaunchOptions { kind, certificates: checked.certs.is_some(), guest_memfd: checked.guest_memfd };
    let launched = launch(&planned.plan, options, trace.clone());
    let written = file.zip(trace).map(|(file, trace)| file.end(&trace));
    if let Err(e) = &launched {
        written.iter().for_each(|text| story.more(text));
        eprintln!("cloister run: the launch failed: {e}");
        return Ok(ExitCode::from(exit::FAILED));
    }
    story.step(
        "launch",
        "every step was answered, by the rules of kernel and firmware as they are documented",
    );
    written.iter().for_each(|text| story.more(text));
    let same = match launched.ok().flatten().map(Digest384) {
        Some(digest) => {
            story.more(format_args!("launch digest, computed beneath {digest}"));
            let verdict = if digest == predicted { "the same as" } else { "NOT the one that was" };
            story.more(format_args!("which is {verdict} predicted"));
            digest == predicted
        }
        None => true,
    };
    story.to().loud("DRY RUN: nothing was launched, and no hardware was asked");
    Ok(ExitCode::from(if same { exit::OK } else { exit::FAILED }))
}

fn failed(why: String) -> Refusal {
    Refusal::new("cannot write the launch down", why, "give --trace-launch another path")
}
