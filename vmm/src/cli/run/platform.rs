//! Which platform the guest is launched on, as the operator asked, the guest can, and the host allows.

use cloister_coco::launch::{Choice, HostAbilities, PlatformKind, Request, choose};

use super::abilities::can_launch;
use super::guest::Guest;
use crate::cli::doctor::host_lacks;
use crate::config::CocoPlatform;
use crate::kvm::Host;
use crate::refusal::Refusal;

/// Chooses. Without a host, a platform by name is taken without looking at one.
pub(super) fn choose_platform(guest: &Guest, host: Option<&Host>) -> Result<Choice, Refusal> {
    let request = Request::from(guest.platform);
    // What the guest lacks, it lacks on every host: say that first.
    if let Request::Exactly(kind) = request {
        can_launch(guest, kind)?;
    }
    let abilities = match (host, request) {
        (Some(host), _) => HostAbilities::read(&host.kvm),
        (None, Request::Auto) => {
            let host = Host::open().map_err(|e| Refusal::from_lines(&e.to_string()))?;
            HostAbilities::read(&host.kvm)
        }
        (None, Request::Exactly(_)) => HostAbilities::ALL,
    };
    let unable = |kind| why_not(guest, kind);
    let choice = choose(request, abilities, unable).map_err(|why| {
        let why: Vec<_> = why.iter().map(|c| format!("{}: {}", c.kind, c.why_not)).collect();
        let otherwise = "use --coco sim to try it out, --coco off for a plain VM, or another host";
        match request {
            // What the guest lacks was said above.
            Request::Exactly(kind) if host.is_some() => host_lacks(kind, &why.join("; "), otherwise),
            _ => Refusal::new("cannot launch the guest on the platform asked for", why.join("; "), otherwise),
        }
    })?;
    if guest.require_coco && !choice.kind.is_hardware() {
        let passed_over: Vec<_> =
            choice.passed_over.iter().map(|c| format!("; not {}: {}", c.kind, c.why_not)).collect();
        return Err(Refusal::new(
            format_args!("--require-coco: the guest would run on `{}`", choice.kind),
            format_args!("that is no confidential hardware{}", passed_over.concat()),
            "run on a host with SEV-SNP or TDX (`cloister doctor` says what this one lacks), or leave --require-coco away",
        ));
    }
    if host.is_some() && choice.kind == PlatformKind::Tdx {
        check_td_cpus(guest.cpus, present_cpus(&std::fs::read_to_string(PRESENT_CPUS).unwrap_or_default()))?;
    }
    Ok(choice)
}

/// The processors that the host has, as a list of ranges.
const PRESENT_CPUS: &str = "/sys/devices/system/cpu/present";

/// KVM gives a TD no more vCPUs than the host has processors (arch/x86/kvm/vmx/tdx.c, `tdx_vm_init`).
fn check_td_cpus(cpus: u32, present: Option<u32>) -> Result<(), Refusal> {
    match present {
        Some(present) if cpus > present => Err(Refusal::new(
            format_args!("cannot give a TD {cpus} vCPUs"),
            format_args!("this host has {present} processors, and KVM allows a TD no more than those"),
            format_args!("ask for at most {present}: --cpus {present}"),
        )),
        _ => Ok(()),
    }
}

/// How many processors a list such as `0-3,6` has.
fn present_cpus(list: &str) -> Option<u32> {
    list.trim().split(',').try_fold(0u32, |sum, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

/// Why this guest is not launched on `kind`.
fn why_not(guest: &Guest, kind: PlatformKind) -> Option<String> {
    let auto = guest.platform == CocoPlatform::Auto;
    match kind {
        PlatformKind::Sim if auto => {
            Some("the simulator has to be asked for by name: it protects nothing".to_owned())
        }
        PlatformKind::Tdx if auto && guest.attested => {
            Some("the built-in broker (--attest) judges SNP's reports, and not TDX's quotes".to_owned())
        }
        _ => can_launch(guest, kind).err().map(|refusal| refusal.why().to_owned()),
    }
}

#[cfg(test)]
#[path = "platform_tests.rs"]
mod tests;
