//! `cloister run --dry-run`.

use std::process::ExitCode;

use super::check::Checked;
use super::plan::plan;
use super::platform::choose_platform;
use crate::board::LaunchOptions;
use crate::cli::dry_run::{TraceFile, launch_dry};
use crate::cli::story::{Story, To, memory_map, passed_over};
use crate::exit;
use crate::refusal::Refusal;

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

    let certificates = checked.certs.is_some();
    let options = LaunchOptions { kind, certificates, guest_memfd: checked.guest_memfd };
    Ok(match launch_dry(&mut story, &planned.plan, options, predicted, file) {
        Ok(true) => ExitCode::from(exit::OK),
        Ok(false) => ExitCode::from(exit::FAILED),
        Err(why) => {
            eprintln!("cloister run: {why}");
            ExitCode::from(exit::FAILED)
        }
    })
}
