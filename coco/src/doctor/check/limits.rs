//! Limits of this process, which a guest's VMM inherits.

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

use super::ALL;
use super::facts::Facts;
use crate::doctor::answer::Answer;
use crate::doctor::finding::{Area, Finding, Role, Subject};

const FILES: Subject = Subject {
    id: "limits.open-files",
    area: Area::Limits,
    role: Role::Advises,
    platforms: ALL,
    what: "open files",
    expected: "1024 or more: one for each vCPU, queue, disk and vsock connection",
};
const LOCKED: Subject = Subject {
    id: "limits.locked-memory",
    area: Area::Limits,
    role: Role::Advises,
    platforms: ALL,
    what: "locked memory",
    expected: "any: neither guest RAM nor guest_memfd counts; passed-through devices would",
};

const SOURCE: &str = "/proc/self/limits";
const ENOUGH: u64 = 1024;

pub(super) fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    let limits = facts.host.text(SOURCE);
    let Answer::Value(text) = &limits else {
        findings.push(FILES.unknown(SOURCE, limits.why_not(), "mount /proc"));
        return;
    };
    let limit = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    };
    if let Some((soft, hard)) = limit("Max open files") {
        let enough = soft == "unlimited" || soft.parse().is_ok_and(|soft: u64| soft >= ENOUGH);
        let observed = format!("{soft}, {hard} at most");
        findings.push(if enough {
            FILES.ok(SOURCE, observed)
        } else {
            FILES.note(SOURCE, observed, Some("ulimit -n 4096, or LimitNOFILE= in the unit"))
        });
    }
    if let Some((soft, hard)) = limit("Max locked memory") {
        findings.push(LOCKED.ok(SOURCE, format!("{soft}, {hard} at most (bytes)")));
    }
}
