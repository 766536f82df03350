//! Memory, hyper-threads, and what the host set aside for confidential guests.

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
use super::{ALL, HARDWARE, SNP};
use crate::doctor::answer::Answer;
use crate::doctor::finding::{Area, Finding, Role, Subject};

const fn subject(
    id: &'static str,
    platforms: &'static [crate::launch::PlatformKind],
    what: &'static str,
    expected: &'static str,
) -> Subject {
    Subject { id, area: Area::Memory, role: Role::Advises, platforms, what, expected }
}

const FREE: Subject =
    subject("memory.available", ALL, "memory for guests", "as much as the guests have, and a little");
const HUGE: Subject = subject(
    "memory.hugepages",
    ALL,
    "huge pages",
    "any: guest_memfd takes none, so that private memory is in pages of 4 KiB",
);
const CAPACITY: Subject = subject(
    "memory.guest-keys",
    HARDWARE,
    "how many confidential guests fit",
    "the misc controller of cgroups",
);
const SMT: Subject = subject(
    "memory.smt",
    SNP,
    "hyper-threads",
    "off, or guests with policy bit 16 (SMT allowed), as is the default",
);

pub(super) fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    let host = facts.host;
    if let Answer::Value(text) = host.text("/proc/meminfo") {
        let words: Vec<_> =
            text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        findings.push(FREE.ok("/proc/meminfo", words.join(", ")));
    }
    let folder = "/sys/kernel/mm/hugepages";
    if let Answer::Value(sizes) = host.list(folder) {
        let count = |size: &String| {
            let total = host.line(&format!("{folder}/{size}/nr_hugepages")).value().cloned()?;
            let free = host.line(&format!("{folder}/{size}/free_hugepages")).value().cloned()?;
            Some(format!("{}: {free} of {total} free", size.trim_start_matches("hugepages-")))
        };
        let counts: Vec<_> = sizes.iter().filter_map(count).collect();
        findings.push(HUGE.ok(folder, counts.join(", ")));
    }
    let path = "/sys/fs/cgroup/misc.capacity";
    if let Answer::Value(text) = host.text(path) {
        let observed = text.lines().collect::<Vec<_>>().join(", ");
        findings.push(CAPACITY.ok(path, if observed.is_empty() { "none".into() } else { observed }));
    }
    let path = "/sys/devices/system/cpu/smt/active";
    if let Answer::Value(value) = host.line(path) {
        findings.push(if value == "1" { SMT.note(path, "on", None) } else { SMT.ok(path, "off") });
    }
}
