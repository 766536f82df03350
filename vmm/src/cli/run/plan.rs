//! From a guest's specification to its launch plan, and what that will measure to.

use std::path::PathBuf;

use cloister_coco::launch::PlatformKind;
use cloister_firmware::acpi;
use cloister_firmware::measure::{Digest384, Measurement, Passes, measure_snp, measure_tdx};
use cloister_firmware::plan::{ImageFile, InitialPrivacy, LaunchPlan, LinuxBoot, SnpPages, plan_linux};
use kvm_bindings::KVM_MAX_CPUID_ENTRIES;

use super::abilities::without_firmware;
use super::firmware;
use super::guest::Guest;
use super::identity::check_digest;
use crate::board::FirmwareSpec;
use crate::cli::demo::SIGNATURE;
use crate::config::{ConsoleSpec, VmSpec};
use crate::kvm::Host;
use crate::refusal::Refusal;

/// A guest as it will be launched on one platform.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Planned {
    /// The platform.
    pub(in crate::cli) kind: PlatformKind,
    /// What is launched.
    pub(in crate::cli) plan: LaunchPlan,
    /// What the guest's firmware is told, if it has one.
    pub(in crate::cli) firmware: Option<FirmwareSpec>,
    /// What it will measure to, step by step: SNP's launch digest or TDX's MRTD. A plain guest's is that
    /// of the same plan under SNP, and nothing will prove it.
    pub(in crate::cli) measurement: Measurement,
    /// The CPU signature that was taken from the host, because nobody named one: the measurement is that of
    /// such hosts only.
    pub(in crate::cli) signature_of_host: Option<u32>,
}

impl Planned {
    /// The launch digest, or MRTD.
    pub(in crate::cli) fn predicted(&self) -> Digest384 {
        self.measurement.digest
    }
}

/// Plans the guest of `spec` for a platform without looking at any host: the very plan that `run` launches.
/// An ID block for another guest does not matter here, or nobody could find out what differs.
pub(in crate::cli) fn plan_for(spec: &VmSpec, kind: PlatformKind) -> Result<Planned, Refusal> {
    plan_any(&Guest::new(spec)?, kind, None)
}

/// Its plan alone: for who tries many guests, and hashes what they have in common once.
pub(in crate::cli) fn plan_unmeasured(spec: &VmSpec, kind: PlatformKind) -> Result<LaunchPlan, Refusal> {
    launch_plan(&Guest::new(spec)?, kind, None).map(|launch| launch.plan)
}

/// The same for a guest that is to be launched; what was left open is as `host` has it.
pub(super) fn plan(guest: &Guest, kind: PlatformKind, host: Option<&Host>) -> Result<Planned, Refusal> {
    let planned = plan_any(guest, kind, host)?;
    if kind.has_evidence() {
        check_digest(&planned.plan.identity, planned.predicted())?;
    }
    Ok(planned)
}

fn plan_any(guest: &Guest, kind: PlatformKind, host: Option<&Host>) -> Result<Planned, Refusal> {
    let Launch { plan, firmware, signature_of_host } = launch_plan(guest, kind, host)?;
    let measurement = measure(&plan, kind)?;
    Ok(Planned { kind, plan, firmware, measurement, signature_of_host })
}

/// A plan that is not measured yet, and what belongs to it.
struct Launch {
    plan: LaunchPlan,
    firmware: Option<FirmwareSpec>,
    signature_of_host: Option<u32>,
}

fn launch_plan(guest: &Guest, kind: PlatformKind, host: Option<&Host>) -> Result<Launch, Refusal> {
    if guest.firmware.is_none() {
        without_firmware(kind)?;
    }
    let signature_of_host = signature_of_host(guest, kind, host)?;
    let signature = guest.signature.or(signature_of_host).unwrap_or(SIGNATURE);
    let (plan, firmware) = match (&guest.firmware, &guest.kernel) {
        (Some(path), _) => {
            firmware::plan(guest, path, kind, signature).map(|(plan, told)| (plan, Some(told)))?
        }
        (None, Some(kernel)) => (plan_kernel(guest, kernel, kind, signature)?, None),
        (None, None) => {
            return Err(Refusal::new("nothing to boot", "neither firmware nor a kernel", "give one of them"));
        }
    };
    Ok(Launch { plan, firmware, signature_of_host })
}

/// The CPU signature that SNP vCPUs start with, if nobody named it. Every other guest has the same one on
/// every host.
fn signature_of_host(guest: &Guest, kind: PlatformKind, host: Option<&Host>) -> Result<Option<u32>, Refusal> {
    if kind != PlatformKind::Snp || guest.signature.is_some() {
        return Ok(None);
    }
    host.and_then(host_signature).map(Some).ok_or_else(|| {
        Refusal::new(
            "neither --cpu-model nor --cpu-sig is given",
            "every SNP vCPU starts with the signature of its CPU in RDX, so it is measured, and here is no \
             SNP host whose signature could be taken",
            "give the model, such as --cpu-model EPYC-Milan, or the host's CPUID leaf 1, EAX, as --cpu-sig",
        )
    })
}

/// The signature that this host's vCPUs see: CPUID leaf 1, EAX.
fn host_signature(host: &Host) -> Option<u32> {
    let cpuid = host.kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).ok()?;
    cpuid.as_slice().iter().find(|e| e.function == 1).map(|e| e.eax)
}

/// A kernel that is started by us, not by firmware.
fn plan_kernel(
    guest: &Guest,
    kernel: &PathBuf,
    kind: PlatformKind,
    signature: u32,
) -> Result<LaunchPlan, Refusal> {
    let what = "cannot plan the guest";
    let refuse =
        |e: &dyn std::fmt::Display| Refusal::from_message(what, &e.to_string(), "mend that and try again");
    let open = |path: &PathBuf| ImageFile::open(path).map_err(|e| refuse(&e));
    let serial = guest.console(kind) != ConsoleSpec::Off;
    let serial = serial.then_some(acpi::SerialPort::COM1);
    let tables = acpi::AcpiSpec { serial, ..acpi::AcpiSpec::new(guest.cpus) };
    let tables = acpi::build(&tables).map_err(|e| refuse(&e))?;
    let boot = LinuxBoot {
        kernel: open(kernel)?,
        initrd: guest.initrd.as_ref().map(open).transpose()?,
        cmdline: guest.cmdline.clone(),
        memory: guest.memory,
        vcpus: guest.cpus,
        signature,
        acpi: tables,
        identity: guest.identity.clone(),
        // An ordinary kernel cannot know of the simulator: it would never share what its devices need.
        initial: InitialPrivacy::Shared,
        snp_pages: if kind.has_evidence() { SnpPages::Reserved } else { SnpPages::Absent },
        c_bit: None,
    };
    plan_linux(boot).map_err(|e| refuse(&e))
}

fn measure(plan: &LaunchPlan, kind: PlatformKind) -> Result<Measurement, Refusal> {
    let measured = match kind {
        PlatformKind::Tdx => measure_tdx(plan, Passes::Single),
        _ => measure_snp(plan),
    };
    measured.map_err(|e| Refusal::new("cannot measure the plan", e, "see that the files can be read"))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
