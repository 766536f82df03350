//! The IOMMU, without which the kernel does not switch SNP on.

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

use super::SNP;
use super::facts::{Facts, Vendor};
use crate::doctor::finding::{Area, Finding, Role, Subject};

const FOR_SNP: Subject = Subject {
    id: "iommu.snp",
    area: Area::Iommu,
    role: Role::Explains,
    platforms: SNP,
    what: "an IOMMU that is on, and fit for SNP",
    expected: "translating (no iommu=pt, no iommu=off), with version 1 page tables",
};

/// Words of the kernel's command line that keep SNP off (drivers/iommu/amd/init.c, iommu_snp_enable).
const BAD_WORDS: [&str; 6] =
    ["iommu=pt", "iommu=off", "amd_iommu=off", "amd_iommu=pgtbl_v2", "iommu.passthrough=1", "iommu=soft"];

pub(super) fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    if facts.vendor != Vendor::Amd || facts.is_virtual() {
        return;
    }
    let command_line = facts.host.line("/proc/cmdline");
    let words = command_line.value().map_or("", String::as_str);
    let bad = words.split_whitespace().find(|word| {
        // iommu= takes a list.
        let (name, values) = word.split_once('=').unwrap_or((word, ""));
        values.split(',').any(|value| BAD_WORDS.contains(&format!("{name}={value}").as_str()))
    });
    let log = "the kernel's log";
    findings.push(if let Some(word) = bad {
        FOR_SNP.missing("/proc/cmdline", word, format!("take {word} off the kernel's command line, and reboot"))
    } else if let Some(line) = facts.log("IOMMU SNP support enabled") {
        FOR_SNP.ok(log, line)
    } else if let Some(line) = facts.log("V2 page table mode, SNP cannot be supported") {
        FOR_SNP.missing(log, line, "take amd_iommu=pgtbl_v2 off the kernel's command line, and reboot")
    } else if let Some(line) = facts.log("IOMMU SNP feature not enabled") {
        FOR_SNP.missing(log, line, "firmware setup: AMD CBS > NBIO Common Options: SEV-SNP Support = Enable")
    } else if let Some(line) = facts.log("SNP cannot be supported") {
        FOR_SNP.missing(
            log,
            line,
            "firmware setup: AMD CBS > NBIO Common Options: IOMMU = Enabled; kernel: CONFIG_IOMMU_DEFAULT_PASSTHROUGH off",
        )
    } else {
        let units = facts.host.list("/sys/class/iommu");
        let found = units.value().map_or(0, |names| names.iter().filter(|n| n.starts_with("ivhd")).count());
        if units.value().is_some() && found == 0 {
            let remedy = "firmware setup: AMD CBS > NBIO Common Options: IOMMU = Enabled";
            FOR_SNP.missing("/sys/class/iommu", "no IOMMU", remedy)
        } else {
            let why = format!("{found} IOMMUs in /sys/class/iommu; {}", facts.log_silence());
            FOR_SNP.unknown(log, why, Facts::READ_LOG)
        }
    });
}
