//! Launches over nothing (`--dry-run`), and launches written down (`--trace-launch`).

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use cloister_coco::launch::Trace;
use cloister_firmware::measure::Digest384;
use cloister_firmware::plan::LaunchPlan;

use super::story::Story;
use crate::board::{LaunchOptions, dry_run};
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

/// Goes through the launch of `plan` without a VM. Whether what arrived is what was predicted, as far as
/// there is something beneath that knows; the error is why the launch failed.
pub(super) fn launch_dry(
    story: &mut Story,
    plan: &LaunchPlan,
    options: LaunchOptions,
    predicted: Digest384,
    file: Option<&TraceFile>,
) -> Result<bool, String> {
    let trace = file.map(TraceFile::trace).transpose()?;
    let launched = dry_run(plan, options, trace.clone());
    let written = file.zip(trace).map(|(file, trace)| file.end(&trace));
    if let Err(e) = &launched {
        written.iter().for_each(|text| story.more(text));
        return Err(format!("the launch failed: {e}"));
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
    Ok(same)
}
