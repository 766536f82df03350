//! The service that turns a TD's reports into quotes.

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
use crate::doctor::answer::Answer;
use crate::doctor::finding::{Area, Finding, Role, Subject};

const SERVICE: Subject = Subject {
    id: "quotes.service",
    area: Area::Quotes,
    role: Role::Advises,
    platforms: TDX,
    what: "a quote service",
    expected: "a connection to --quote-service, or to where Intel's QGS listens",
};

pub(super) fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    let Some(service) = &facts.host.answers.quote_service else { return };
    let address = service.address.as_str();
    findings.push(match &service.connect {
        Answer::Value(_) => SERVICE.ok(address, "connected"),
        other => {
            let remedy = match other {
                Answer::Errno(libc::EACCES | libc::EPERM) => "join the group that owns the socket (usermod -aG qgsd $USER)",
                Answer::Errno(libc::ENODEV | libc::EAFNOSUPPORT) if address.starts_with("vsock:") => {
                    "modprobe vsock_loopback vhost_vsock"
                }
                _ => "systemctl start qgsd (package tdx-qgs); name it by --quote-service if it listens elsewhere",
            };
            SERVICE.note(address, other.why_not(), Some(remedy))
        }
    });
}
