//! Firmware images for guests, in the places where distributions put them.

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

use super::facts::Facts;
use super::{SNP, TDX};
use crate::doctor::answer::Image;
use crate::doctor::finding::{Area, Finding, Role, Subject};

/// Debian and Ubuntu, Fedora, openSUSE.
pub(in crate::doctor) const IMAGES: [&str; 14] = [
    "/usr/share/ovmf/OVMF.amdsev.fd",
    "/usr/share/ovmf/OVMF.inteltdx.fd",
    "/usr/share/ovmf/OVMF.inteltdx.ms.fd",
    "/usr/share/ovmf/OVMF.tdx.fd",
    "/usr/share/OVMF/OVMF.amdsev.fd",
    "/usr/share/OVMF/OVMF.inteltdx.fd",
    "/usr/share/edk2/ovmf/OVMF.amdsev.fd",
    "/usr/share/edk2/ovmf/OVMF.inteltdx.fd",
    "/usr/share/edk2/ovmf/OVMF.inteltdx.secboot.fd",
    "/usr/share/qemu/ovmf-x86_64-sev.bin",
    "/usr/share/qemu/ovmf-x86_64-tdx.bin",
    "/usr/share/qemu/OVMF.amdsev.fd",
    "/usr/share/qemu/OVMF.inteltdx.fd",
    "/usr/share/ovmf/OVMF.fd",
];

const FOR_SNP: Subject = Subject {
    id: "firmware.snp",
    area: Area::Firmware,
    role: Role::Advises,
    platforms: SNP,
    what: "firmware for SNP guests",
    expected: "an OVMF with SNP metadata and a place for kernel hashes (AmdSevX64)",
};
const FOR_TDX: Subject = Subject {
    id: "firmware.tdx",
    area: Area::Firmware,
    role: Role::Advises,
    platforms: TDX,
    what: "firmware for TDs",
    expected: "an OVMF with TDX metadata (IntelTdxX64)",
};

pub(super) fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    findings.push(find(
        facts,
        &FOR_SNP,
        |i| i.snp && i.kernel_hashes,
        "apt install ovmf-amdsev (Fedora: edk2-ovmf)",
    ));
    findings.push(find(facts, &FOR_TDX, |i| i.tdx, "apt install ovmf-inteltdx (Fedora: edk2-ovmf)"));
}

fn find(facts: &Facts, subject: &Subject, fit: fn(&Image) -> bool, remedy: &str) -> Finding {
    let images = &facts.host.answers.firmware;
    let found: Vec<_> =
        images.iter().filter(|(_, image)| fit(image)).map(|(path, _)| path.as_str()).collect();
    if found.is_empty() {
        let observed = match images.keys().next() {
            None => "none of the images looked for".to_owned(),
            Some(path) => format!("{path} and {} others, none fit", images.len().saturating_sub(1)),
        };
        let remedy = format!("{remedy}, or name another by --firmware");
        return subject.note("/usr/share: ovmf, OVMF, edk2, qemu", observed, Some(&remedy));
    }
    subject.ok("/usr/share", found.join(", "))
}
