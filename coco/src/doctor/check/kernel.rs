//! The kernel's version and configuration.

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
use super::{ALL, PRIVATE, PROTECTED, SNP, TDX};
use crate::doctor::answer::Answer;
use crate::doctor::finding::{Area, Finding, Role, Subject};
use crate::launch::PlatformKind;

const fn version(
    id: &'static str,
    platforms: &'static [PlatformKind],
    what: &'static str,
    expected: &'static str,
) -> Subject {
    Subject { id, area: Area::Kernel, role: Role::Explains, platforms, what, expected }
}

/// The first kernels with these types of VM: KVM_CAP_VM_TYPES came with 6.8, SNP with 6.11, TDX with 6.16.
const VERSIONS: [(Subject, u32); 3] = [
    (
        version(
            "kernel.version.protected",
            PROTECTED,
            "a kernel new enough for private memory",
            "Linux 6.8 or later",
        ),
        8,
    ),
    (version("kernel.version.snp", SNP, "a kernel new enough for SNP", "Linux 6.11 or later"), 11),
    (version("kernel.version.tdx", TDX, "a kernel new enough for TDX", "Linux 6.16 or later"), 16),
];

const fn option(
    id: &'static str,
    role: Role,
    platforms: &'static [PlatformKind],
    what: &'static str,
    expected: &'static str,
) -> Subject {
    Subject { id, area: Area::Kernel, role, platforms, what, expected }
}

/// Option, who asks for it (of whose processors), and the check.
const OPTIONS: [(&str, Option<Vendor>, Subject); 7] = [
    (
        "CONFIG_KVM",
        None,
        option("kernel.config.kvm", Role::Explains, ALL, "a kernel built with KVM", "CONFIG_KVM=y or m"),
    ),
    (
        "CONFIG_KVM_AMD_SEV",
        Some(Vendor::Amd),
        option("kernel.config.sev", Role::Explains, SNP, "KVM built with SEV", "CONFIG_KVM_AMD_SEV=y"),
    ),
    (
        "CONFIG_CRYPTO_DEV_SP_PSP",
        Some(Vendor::Amd),
        option(
            "kernel.config.psp",
            Role::Explains,
            SNP,
            "the secure processor's driver, built",
            "CONFIG_CRYPTO_DEV_SP_PSP=y",
        ),
    ),
    (
        "CONFIG_KVM_INTEL_TDX",
        Some(Vendor::Intel),
        option("kernel.config.tdx", Role::Explains, TDX, "KVM built with TDX", "CONFIG_KVM_INTEL_TDX=y"),
    ),
    (
        "CONFIG_KVM_SW_PROTECTED_VM",
        None,
        option(
            "kernel.config.protected",
            Role::Explains,
            PROTECTED,
            "KVM built with software-protected VMs",
            "CONFIG_KVM_SW_PROTECTED_VM=y (needs CONFIG_EXPERT)",
        ),
    ),
    (
        "CONFIG_KVM_GUEST_MEMFD",
        None,
        option(
            "kernel.config.guest-memfd",
            Role::Explains,
            PRIVATE,
            "KVM built with guest_memfd",
            "CONFIG_KVM_GUEST_MEMFD=y (CONFIG_KVM_PRIVATE_MEM before Linux 6.18)",
        ),
    ),
    (
        "CONFIG_VHOST_VSOCK",
        None,
        option(
            "kernel.config.vhost-vsock",
            Role::Advises,
            ALL,
            "the kernel's own vsock device (cloister brings one)",
            "CONFIG_VHOST_VSOCK=y or m",
        ),
    ),
];

/// What older kernels call an option: CONFIG_KVM_GUEST_MEMFD has that name since Linux 6.18.
const FORMERLY: [(&str, &str); 1] = [("CONFIG_KVM_GUEST_MEMFD", "CONFIG_KVM_PRIVATE_MEM")];

pub(super) fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    let release = facts.host.line("/proc/sys/kernel/osrelease");
    findings.extend(VERSIONS.iter().map(|(subject, minor)| new_enough(subject, &release, *minor)));
    findings.extend(config(facts, &release));
}

fn new_enough(subject: &Subject, release: &Answer<String>, minor: u32) -> Finding {
    const SOURCE: &str = "/proc/sys/kernel/osrelease";
    match release.value().map(|release| (release, parse(release))) {
        Some((release, Some(found))) => {
            subject.judge(found >= (6, minor), SOURCE, format!("Linux {release}"), "install a newer kernel")
        }
        Some((release, None)) => subject.unknown(SOURCE, format!("`{release}` is no version"), "report this"),
        None => subject.unknown(SOURCE, release.why_not(), "mount /proc"),
    }
}

/// Major and minor version of a kernel's release.
fn parse(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn config(facts: &Facts, release: &Answer<String>) -> Vec<Finding> {
    // A release with a slash in it is nobody's.
    let release = release.value().filter(|r| !r.contains('/')).map_or("", String::as_str);
    let paths = [
        "/proc/config.gz".to_owned(),
        format!("/boot/config-{release}"),
        format!("/lib/modules/{release}/config"),
        format!("/usr/lib/modules/{release}/config"),
    ];
    let read = |path: &String| match facts.host.text(path) {
        Answer::Value(text) if !text.is_empty() => Some((path.clone(), text)),
        _ => None,
    };
    let config = paths.iter().find_map(read);
    let wanted = |vendor: &Option<Vendor>| vendor.is_none_or(|vendor| vendor == facts.vendor);
    OPTIONS
        .iter()
        .filter(|(_, vendor, _)| wanted(vendor))
        .map(|(name, _, subject)| {
            let Some((path, text)) = &config else {
                let source = "/proc/config.gz, /boot/config-*, /lib/modules/*/config";
                return subject.unknown(
                    source,
                    "none of them can be read",
                    "modprobe configs, or install the kernel's package whole",
                );
            };
            let former = FORMERLY.iter().filter(|(now, _)| now == name).map(|(_, former)| former);
            let set = [name].into_iter().chain(former).find_map(|name| {
                let value = text.lines().find_map(|line| line.strip_prefix(*name)?.strip_prefix('='));
                Some((name, value?))
            });
            match set {
                Some((name, value)) => subject.ok(path, format!("{name}={value}")),
                None if subject.role == Role::Advises => {
                    subject.note(path, format!("{name} is not set"), None)
                }
                None => subject.missing(
                    path,
                    format!("{name} is not set"),
                    format!("use a kernel built with {name}=y"),
                ),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn releases_are_read() {
        assert_eq!(parse("6.11.0-rc1-custom"), Some((6, 11)));
        assert_eq!(parse("7.2.13+deb14-amd64"), Some((7, 2)));
        assert_eq!(parse("6"), None);
        assert_eq!(parse("99999999999.1"), None);
        assert_eq!(parse(""), None);
    }
}
