//! Modules and their parameters.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use super::facts::{Facts, Vendor};
use super::{ALL, PRIVATE, SNP, TDX};
use crate::doctor::answer::Answer;
use crate::doctor::finding::{Area, Finding, Role, Subject};
use crate::launch::PlatformKind;

const fn subject(
    id: &'static str,
    platforms: &'static [PlatformKind],
    what: &'static str,
    expected: &'static str,
) -> Subject {
    Subject { id, area: Area::Module, role: Role::Explains, platforms, what, expected }
}

const KVM: Subject = subject("module.kvm", ALL, "KVM, loaded", "/sys/module/kvm");
const AMD: Subject = subject("module.kvm-amd", ALL, "KVM for AMD, loaded", "/sys/module/kvm_amd");
const INTEL: Subject = subject("module.kvm-intel", ALL, "KVM for Intel, loaded", "/sys/module/kvm_intel");
const CCP: Subject = subject("module.ccp", SNP, "the secure processor's driver, loaded", "/sys/module/ccp");

/// Module, parameter, check, and what mends it.
type Parameter = (&'static str, &'static str, Subject, &'static str);

const COMMON: [Parameter; 2] = [
    (
        "kvm",
        "tdp_mmu",
        subject("module.kvm.tdp-mmu", PRIVATE, "KVM's TDP MMU", "Y"),
        "take kvm.tdp_mmu=0 away (kernel's command line, /etc/modprobe.d), and reload the modules",
    ),
    (
        "kvm",
        "mmio_caching",
        subject(
            "module.kvm.mmio-caching",
            &[PlatformKind::Snp, PlatformKind::Tdx],
            "KVM's MMIO caching",
            "Y",
        ),
        "take kvm.mmio_caching=0 away (kernel's command line, /etc/modprobe.d), and reload the modules",
    ),
];
const FOR_AMD: [Parameter; 4] = [
    (
        "kvm_amd",
        "npt",
        subject("module.kvm-amd.npt", SNP, "nested paging", "Y"),
        "take kvm_amd.npt=0 away, and reload the modules",
    ),
    (
        "kvm_amd",
        "sev",
        subject("module.kvm-amd.sev", SNP, "SEV in KVM", "Y"),
        "mend what is missing above; then modprobe -r kvm_amd && modprobe kvm_amd sev=1",
    ),
    (
        "kvm_amd",
        "sev_es",
        subject("module.kvm-amd.sev-es", SNP, "SEV-ES in KVM", "Y"),
        "mend what is missing above; then modprobe -r kvm_amd && modprobe kvm_amd sev_es=1",
    ),
    (
        "kvm_amd",
        "sev_snp",
        subject("module.kvm-amd.sev-snp", SNP, "SEV-SNP in KVM", "Y"),
        "mend what is missing above; then modprobe -r kvm_amd && modprobe kvm_amd sev_snp=1",
    ),
];
const FOR_INTEL: [Parameter; 2] = [
    (
        "kvm_intel",
        "ept",
        subject("module.kvm-intel.ept", TDX, "extended page tables", "Y"),
        "take kvm_intel.ept=0 away, and reload the modules",
    ),
    (
        "kvm_intel",
        "tdx",
        subject("module.kvm-intel.tdx", TDX, "TDX in KVM", "Y (the default is N)"),
        "echo 'options kvm_intel tdx=1' > /etc/modprobe.d/cloister-tdx.conf, and reboot",
    ),
];

pub(super) fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    if !loaded(facts, &KVM, "kvm", findings) {
        return;
    }
    findings.extend(COMMON.iter().filter_map(|p| parameter(facts, p)));
    let (subject, module, parameters) = match facts.vendor {
        Vendor::Amd => (&AMD, "kvm_amd", &FOR_AMD[..]),
        Vendor::Intel => (&INTEL, "kvm_intel", &FOR_INTEL[..]),
        Vendor::Other | Vendor::Unknown => return,
    };
    if loaded(facts, subject, module, findings) {
        findings.extend(parameters.iter().filter_map(|p| parameter(facts, p)));
        if facts.vendor == Vendor::Amd && !facts.is_virtual() {
            loaded(facts, &CCP, "ccp", findings);
        }
    }
}

fn loaded(facts: &Facts, subject: &Subject, module: &str, findings: &mut Vec<Finding>) -> bool {
    let path = format!("/sys/module/{module}");
    let list = facts.host.list(&path);
    findings.push(match &list {
        Answer::Value(_) => subject.ok(path, "loaded"),
        other if other.is_absent() => {
            let remedy = format!("modprobe {module} (and see `dmesg | grep {module}` if that fails)");
            subject.missing(path, "not loaded", remedy)
        }
        other => subject.unknown(path, other.why_not(), "mount /sys"),
    });
    list.value().is_some()
}

fn parameter(facts: &Facts, (module, name, subject, remedy): &Parameter) -> Option<Finding> {
    let path = format!("/sys/module/{module}/parameters/{name}");
    Some(match facts.host.line(&path) {
        Answer::Value(value) => {
            // KVM shows booleans as Y and N, and a few as numbers.
            let on = matches!(value.as_str(), "Y" | "y" | "1");
            subject.judge(on, path, value, *remedy)
        }
        // A kernel without the parameter is told of by its version or configuration.
        other if other.is_absent() => return None,
        other => subject.unknown(path, other.why_not(), "run `cloister doctor` as root"),
    })
}
