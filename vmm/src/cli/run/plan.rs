//! From a checked specification to the launch plan.

use std::path::PathBuf;

use cloister_coco::launch::PlatformKind;
use cloister_firmware::acpi;
use cloister_firmware::measure::{Digest384, measure_snp};
use cloister_firmware::plan::{
    Identity, ImageFile, InitialPrivacy, LaunchPlan, LinuxBoot, SnpPages, plan_linux,
};

use super::check::Checked;
use super::firmware;
use crate::board::FirmwareSpec;
use crate::cli::demo::SIGNATURE;
use crate::config::ConsoleSpec;
use crate::refusal::Refusal;

/// The plan, and what the guest's firmware is told if it has one.
pub(super) fn plan(
    checked: &Checked,
    kind: PlatformKind,
) -> Result<(LaunchPlan, Option<FirmwareSpec>), Refusal> {
    if let Some(path) = &checked.firmware {
        return firmware::plan(checked, path, kind).map(|(plan, told)| (plan, Some(told)));
    }
    let Some(kernel) = &checked.kernel else {
        return Err(Refusal::new("nothing to boot", "neither firmware nor a kernel", "give one of them"));
    };
    plan_kernel(checked, kernel, kind).map(|plan| (plan, None))
}

fn plan_kernel(checked: &Checked, kernel: &PathBuf, kind: PlatformKind) -> Result<LaunchPlan, Refusal> {
    let what = "cannot plan the guest";
    let refuse =
        |e: &dyn std::fmt::Display| Refusal::from_message(what, &e.to_string(), "mend that and try again");
    let open = |path: &PathBuf| ImageFile::open(path).map_err(|e| refuse(&e));
    let serial = checked.console(kind) != ConsoleSpec::Off;
    let serial = serial.then_some(acpi::SerialPort::COM1);
    let tables = acpi::AcpiSpec { serial, ..acpi::AcpiSpec::new(checked.cpus) };
    let tables = acpi::build(&tables).map_err(|e| refuse(&e))?;
    let boot = LinuxBoot {
        kernel: open(kernel)?,
        initrd: checked.initrd.as_ref().map(open).transpose()?,
        cmdline: checked.cmdline.clone(),
        memory: checked.memory,
        vcpus: checked.cpus,
        signature: SIGNATURE,
        acpi: tables,
        identity: Identity::default(),
        // An ordinary kernel cannot know of the simulator: it would never share what its devices need.
        initial: InitialPrivacy::Shared,
        snp_pages: if kind.has_evidence() { SnpPages::Reserved } else { SnpPages::Absent },
        c_bit: None,
    };
    plan_linux(boot).map_err(|e| refuse(&e))
}

/// The launch digest that the plan will give.
pub(super) fn measure(plan: &LaunchPlan) -> Result<Digest384, Refusal> {
    let measured = measure_snp(plan);
    measured
        .map(|m| m.digest)
        .map_err(|e| Refusal::new("cannot measure the plan", e, "see that the files can be read"))
}
