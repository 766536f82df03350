//! Device nodes, and who may open them.

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
use crate::doctor::answer::{Answer, Node};
use crate::doctor::finding::{Area, Finding, Role, Subject};

const KVM: Subject = Subject {
    id: "device.kvm",
    area: Area::Device,
    role: Role::Decides,
    platforms: ALL,
    what: "/dev/kvm for this user",
    expected: "readable and writable for this user",
};
const SEV: Subject = Subject {
    id: "device.sev",
    area: Area::Device,
    role: Role::Decides,
    platforms: SNP,
    what: "/dev/sev for this user",
    expected: "readable and writable for this user",
};
const VSOCK: Subject = Subject {
    id: "device.vhost-vsock",
    area: Area::Device,
    role: Role::Advises,
    platforms: ALL,
    what: "/dev/vhost-vsock (cloister's own vsock needs none)",
    expected: "readable and writable for this user",
};
const GUEST: Subject = Subject {
    id: "device.guest",
    area: Area::Device,
    role: Role::Explains,
    platforms: HARDWARE,
    what: "a host, not a confidential guest",
    expected: "neither /dev/sev-guest nor /dev/tdx_guest",
};

pub(super) fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    let look = |path: &str| facts.host.answers.nodes.get(path).cloned().unwrap_or_default();
    findings.push(openable(
        &KVM,
        "/dev/kvm",
        &look("/dev/kvm"),
        "load KVM (modprobe kvm_amd or kvm_intel), and switch virtualisation on in the firmware setup",
    ));
    findings.push(openable(&SEV, "/dev/sev", &look("/dev/sev"), "modprobe ccp; then see `dmesg | grep ccp`"));
    let vsock = look("/dev/vhost-vsock");
    findings.push(match vsock.value() {
        Some(node) if node.open.value().is_some() => VSOCK.ok("/dev/vhost-vsock", describe(node)),
        Some(node) => {
            VSOCK.note("/dev/vhost-vsock", format!("{}: {}", describe(node), node.open.why_not()), None)
        }
        None => VSOCK.note("/dev/vhost-vsock", vsock.why_not(), None),
    });
    let mut guest =
        ["/dev/sev-guest", "/dev/tdx_guest"].into_iter().filter(|path| look(path).value().is_some());
    findings.extend(guest.next().map(|path| {
        GUEST.missing(path, "there", "run cloister on the host: confidential guests cannot be nested")
    }));
}

fn openable(subject: &Subject, path: &str, node: &Answer<Node>, absent: &str) -> Finding {
    match node {
        Answer::Value(node) => match &node.open {
            Answer::Value(_) => subject.ok(path, describe(node)),
            Answer::Errno(libc::EACCES | libc::EPERM) => {
                let observed = format!("{}: {}", describe(node), node.open.why_not());
                subject.missing(path, observed, let_in(path, node))
            }
            // A node without a driver behind it.
            other if other.is_absent() => subject.missing(path, other.why_not(), absent),
            other => subject.missing(path, other.why_not(), "see the end of `dmesg`"),
        },
        other if other.is_absent() => subject.missing(path, "there is none", absent),
        other => subject.unknown(path, other.why_not(), "run `cloister doctor` on the host itself"),
    }
}

/// How a user gets to open a device: by joining its group, if that may.
fn let_in(path: &str, node: &Node) -> String {
    let mode = u32::from_str_radix(&node.mode, 8).unwrap_or(0);
    if mode & 0o060 == 0o060 && !matches!(node.group.as_str(), "root" | "0") {
        return format!("usermod -aG {} $USER, then log in again", node.group);
    }
    let name = path.trim_start_matches("/dev/");
    format!(
        "echo 'KERNEL==\"{name}\", GROUP=\"kvm\", MODE=\"0660\"' > /etc/udev/rules.d/90-cloister-{name}.rules, \
         udevadm trigger, and usermod -aG kvm $USER"
    )
}

fn describe(node: &Node) -> String {
    format!("mode {}, {}:{}", node.mode, node.owner, node.group)
}
