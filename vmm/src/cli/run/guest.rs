//! What the guest itself is, apart from the host that it runs on: all that its launch plan is made from.

use std::path::PathBuf;

use cloister_coco::launch::PlatformKind;
use cloister_firmware::plan::{Identity, MAX_MEMORY, MAX_VCPUS, MIN_MEMORY};

use super::identity::{allows_debugging, identity};
use crate::config::{CocoPlatform, ConsoleSpec, Size, VmSpec};
use crate::refusal::Refusal;

/// A guest with its defaults filled in and its mistakes found. Nothing of the host was looked at.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    /// There is firmware, a kernel, or both.
    pub(super) firmware: Option<PathBuf>,
    pub(super) kernel: Option<PathBuf>,
    pub(super) initrd: Option<PathBuf>,
    pub(super) cmdline: String,
    /// Bytes.
    pub(super) memory: u64,
    pub(super) cpus: u32,
    /// CPU signature of SNP vCPUs, if it was named.
    pub(super) signature: Option<u32>,
    /// What was asked for.
    pub(super) platform: CocoPlatform,
    /// As the platform's keys say.
    pub(super) identity: Identity,
    /// Whether a broker will ask for evidence.
    pub(super) attested: bool,
    pub(super) require_coco: bool,
    console: Option<ConsoleSpec>,
}

impl Guest {
    pub(super) fn new(spec: &VmSpec) -> Result<Self, Refusal> {
        check_boot(spec)?;
        let Size(memory) = spec.memory.unwrap_or(Size(512 << 20));
        let cpus = spec.cpus.unwrap_or(1);
        check_cpus(cpus)?;
        check_memory(memory)?;
        let coco = spec.coco.clone().unwrap_or_default();
        let guest = Guest {
            firmware: spec.firmware.clone(),
            kernel: spec.kernel.clone(),
            initrd: spec.initrd.clone(),
            cmdline: spec.cmdline.clone().unwrap_or_default(),
            memory,
            cpus,
            signature: spec.cpu_model.map(|m| m.0).or(spec.cpu_sig.map(|s| s.0)),
            platform: coco.platform,
            identity: identity(&coco)?,
            attested: spec.attest.is_some(),
            require_coco: spec.require_coco.unwrap_or(false),
            console: spec.console.clone(),
        };
        check_attested(&guest, coco.snp.host_data.is_some())?;
        Ok(guest)
    }

    /// Where the serial console goes on a platform. A confidential guest's output is not for the host
    /// to see, unless it was asked for.
    pub(super) fn console(&self, kind: PlatformKind) -> ConsoleSpec {
        match (&self.console, kind) {
            (Some(console), _) => console.clone(),
            (None, PlatformKind::Off) => ConsoleSpec::Stdio,
            (None, _) => ConsoleSpec::Off,
        }
    }
}

/// Whether there is something to boot, and somebody to take what comes with it.
fn check_boot(spec: &VmSpec) -> Result<(), Refusal> {
    if spec.kernel.is_some() {
        return Ok(());
    }
    if spec.firmware.is_none() {
        return Err(Refusal::new(
            "no kernel to boot",
            "neither --kernel nor --firmware, nor the configuration, names anything",
            "give a bzImage or an uncompressed ELF: --kernel vmlinuz",
        ));
    }
    for (flag, given) in [("--initrd", spec.initrd.is_some()), ("--cmdline", spec.cmdline.is_some())] {
        if given {
            return Err(Refusal::new(
                format_args!("{flag} without --kernel"),
                "firmware that boots from a disk takes both from there",
                "add --kernel vmlinuz, or leave it away",
            ));
        }
    }
    Ok(())
}

fn check_cpus(cpus: u32) -> Result<(), Refusal> {
    if (1..=MAX_VCPUS).contains(&cpus) {
        return Ok(());
    }
    Err(Refusal::new(
        format_args!("cannot give the guest {cpus} vCPUs"),
        format_args!("a guest has between 1 and {MAX_VCPUS}"),
        "choose a number in between: --cpus 2",
    ))
}

fn check_memory(memory: u64) -> Result<(), Refusal> {
    let what = format!("cannot give the guest {memory} bytes of memory");
    if memory == 0 {
        return Err(Refusal::new(what, "a guest without memory cannot boot", "give it some: --memory 512M"));
    }
    if memory.is_multiple_of(4096) && (MIN_MEMORY..=MAX_MEMORY).contains(&memory) {
        return Ok(());
    }
    Err(Refusal::new(
        what,
        format_args!(
            "it must be whole pages of 4 KiB, from {} MiB to {} TiB",
            MIN_MEMORY >> 20,
            MAX_MEMORY >> 40
        ),
        "give another size: --memory 512M",
    ))
}

/// The built-in broker binds a launch to itself through HOST_DATA, and judges SNP's evidence.
fn check_attested(guest: &Guest, host_data: bool) -> Result<(), Refusal> {
    if guest.attested && host_data {
        return Err(Refusal::new(
            "--attest with host-data=",
            "the broker binds the launch to itself: HOST_DATA is the digest of the init data that names it",
            "leave host-data= away, or run a broker of your own instead of --attest",
        ));
    }
    if guest.attested && guest.platform == CocoPlatform::Tdx {
        return Err(Refusal::new(
            "--attest with a TD",
            "the built-in broker judges SNP's reports, and not TDX's quotes",
            "leave --attest away, and give the guest its own way to a verifier of quotes",
        ));
    }
    if guest.require_coco && allows_debugging(&guest.identity) {
        return Err(Refusal::new(
            "--require-coco with a policy that allows debugging",
            "bit 19 of the policy lets the host read and change all of the guest's memory",
            "leave debug=on (or that bit of policy=) away, or --require-coco",
        ));
    }
    Ok(())
}

#[cfg(test)]
#[path = "guest_tests.rs"]
mod tests;
