//! Intel's TDX module.

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

use super::TDX;
use super::facts::Facts;
use crate::doctor::finding::{Area, Finding, Role, Subject};

const MODULE: Subject = Subject {
    id: "tdx.module",
    area: Area::Tdx,
    role: Role::Explains,
    platforms: TDX,
    what: "the TDX module, initialised",
    expected: "\"virt/tdx: module initialized\" in the kernel's log",
};
const VERSION: Subject = Subject {
    id: "tdx.version",
    area: Area::Tdx,
    role: Role::Advises,
    platforms: TDX,
    what: "the TDX module's version",
    expected: "1.5.06 or later",
};

/// What the kernel says when it cannot initialise the module (arch/x86/virt/vmx/tdx/tdx.c), and what mends it.
const FAILURES: [(&str, &str); 9] = [
    (
        "virt/tdx: module not loaded",
        "firmware setup: SEAM Loader = Enabled, or update the BIOS to one that brings a TDX module",
    ),
    ("Hibernation support is enabled", "put nohibernate on the kernel's command line, and reboot"),
    (
        "RBP) clobber bug present",
        "update the TDX module (with the BIOS, or by the module loader) to 1.5.06 or later",
    ),
    ("NO_RBP_MOD", "update the TDX module (with the BIOS, or by the module loader) to 1.5.06 or later"),
    (
        "too few private KeyIDs",
        "firmware setup: Processor Configuration > TME-MT/TDX key split = anything but 0 or 1",
    ),
    (
        "TDMRs exhausted",
        "boot with less fragmented memory: take memmap= and mem= off the kernel's command line",
    ),
    ("TDX_PAMT_OUTSIDE_CMRS", "keep CXL and persistent memory out of the kernel's memory: blacklist kmem"),
    ("MOVDIR64B is not supported", "take clearcpuid= off the kernel's command line, and reboot"),
    (
        "virt/tdx: module initialization failed",
        "see `dmesg | grep virt/tdx`; firmware setup: all TDX settings; then update the BIOS",
    ),
];
const SYSFS: &str = "/sys/devices/faux/tdx_host/version";

pub(super) fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    if !facts.may_have_tdx() || facts.is_virtual() {
        return;
    }
    let log = "the kernel's log";
    let version = facts.host.line(SYSFS);
    let failure = FAILURES.iter().find_map(|(text, remedy)| Some((facts.log(text)?, *remedy)));
    findings.push(if let Some(line) = facts.log("virt/tdx: module initialized") {
        MODULE.ok(log, line)
    } else if let Some((line, remedy)) = failure {
        MODULE.missing(log, line, remedy)
    } else if let Some(version) = version.value() {
        MODULE.ok(SYSFS, version)
    } else {
        // It is initialised when KVM is loaded with tdx=1, and not before.
        MODULE.unknown(log, facts.log_silence(), Facts::READ_LOG)
    });
    if let Some(version) = version.value() {
        findings.push(VERSION.ok(SYSFS, version));
    } else if let Some(line) = facts.log("TDX module version").or_else(|| facts.log("major_version")) {
        findings.push(VERSION.ok(log, line));
    }
}
