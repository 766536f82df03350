//! What KVM offers: this, and nothing above it, decides what can run.

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
use super::{ALL, OFF, PRIVATE, PROTECTED, SNP, TDX};
use crate::doctor::answer::{self, Answer, TdxCapabilities, VM_TYPES};
use crate::doctor::finding::{Area, Finding, Role, Subject};
use crate::launch::PlatformKind;

const fn decides(
    id: &'static str,
    platforms: &'static [PlatformKind],
    what: &'static str,
    expected: &'static str,
) -> Subject {
    Subject { id, area: Area::Kvm, role: Role::Decides, platforms, what, expected }
}

const fn advises(
    id: &'static str,
    platforms: &'static [PlatformKind],
    what: &'static str,
    expected: &'static str,
) -> Subject {
    Subject { id, area: Area::Kvm, role: Role::Advises, platforms, what, expected }
}

const API: Subject = decides("kvm.api", ALL, "KVM's API", "version 12");
const SPLIT: Subject =
    decides("kvm.split-irqchip", ALL, "a split interrupt controller", "KVM_CAP_SPLIT_IRQCHIP");
const TYPES: [(&str, Subject, &str); 4] = [
    (
        "snp",
        decides("kvm.vm-type.snp", SNP, "SNP VMs", "KVM_CAP_VM_TYPES bit 4, and such a VM can be made"),
        "mend what is missing for snp above this line",
    ),
    (
        "tdx",
        decides("kvm.vm-type.tdx", TDX, "TDX VMs", "KVM_CAP_VM_TYPES bit 5, and such a VM can be made"),
        "mend what is missing for tdx above this line",
    ),
    (
        "protected",
        decides(
            "kvm.vm-type.protected",
            PROTECTED,
            "software-protected VMs",
            "KVM_CAP_VM_TYPES bit 1, and such a VM can be made",
        ),
        "use a kernel of 6.8 or later built with CONFIG_KVM_SW_PROTECTED_VM=y, and the module kvm with tdp_mmu=Y",
    ),
    (
        "default",
        decides("kvm.vm-type.default", OFF, "plain VMs", "such a VM can be made"),
        "see the end of `dmesg`",
    ),
];
const MEMFD: Subject =
    decides("kvm.guest-memfd", PRIVATE, "guest_memfd, for private memory", "KVM_CAP_GUEST_MEMFD");
const ATTRIBUTES: Subject = decides(
    "kvm.memory-attributes",
    PRIVATE,
    "pages private or shared",
    "KVM_CAP_MEMORY_ATTRIBUTES bit 3 (private)",
);
const HYPERCALL: Subject = decides(
    "kvm.exit-hypercall",
    PRIVATE,
    "conversions handed to the VMM",
    "KVM_CAP_EXIT_HYPERCALL bit 12 (MAP_GPA_RANGE)",
);
const PREFAULT: Subject = advises(
    "kvm.pre-fault",
    PRIVATE,
    "memory filled before the guest touches it",
    "KVM_CAP_PRE_FAULT_MEMORY",
);
const PLAIN_MEMFD: Subject = advises(
    "kvm.guest-memfd-plain",
    OFF,
    "guest_memfd for plain guests",
    "KVM_CAP_GUEST_MEMFD_FLAGS with MMAP and INIT_SHARED",
);
const WIDTH: Subject = advises("kvm.size", ALL, "vCPUs of a guest", "more vCPUs than wanted");
const FEATURES: Subject = advises("kvm.snp.vmsa-features", SNP, "VMSA features", "any");
const POLICY: Subject = advises("kvm.snp.policy-bits", SNP, "policy bits", "0x30000 at least");
const CERTIFICATES: Subject =
    advises("kvm.snp.certificates", SNP, "certificates handed to guests", "SNP_REQ_CERTS (Linux 7.0)");

const TDX_OFFERS: Subject = decides(
    "kvm.tdx.capabilities",
    TDX,
    "what KVM and the TDX module offer a TD",
    "an answer to KVM_TDX_CAPABILITIES as of Linux 6.16",
);

/// KVM_HC_MAP_GPA_RANGE (include/uapi/linux/kvm_para.h).
const MAP_GPA_RANGE: u32 = 12;
/// KVM_MEMORY_ATTRIBUTE_PRIVATE is bit 3.
const PRIVATE_ATTRIBUTE: u32 = 3;
const KERNEL: &str = "use a newer kernel";
/// The capability is there where KVM uses nested paging (`tdp_enabled`, arch/x86/kvm/x86.c).
const FOR_PREFAULT: &str =
    "use a kernel of 6.10 or later, with nested paging (kvm_amd.npt=1, kvm_intel.ept=1)";
const BUILT_FOR: &str = "use a kernel of 6.8 or later built with CONFIG_KVM_AMD_SEV, CONFIG_KVM_INTEL_TDX or \
    CONFIG_KVM_SW_PROTECTED_VM";

pub(super) fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    let kvm = match &facts.host.answers.kvm {
        Answer::Value(kvm) => kvm,
        // Said of the device; without it, none of the rest is known.
        other => {
            findings.push(API.unknown("/dev/kvm", other.why_not(), "make /dev/kvm open first"));
            return;
        }
    };
    let version = format!("version {}", kvm.api);
    findings.push(API.judge(kvm.api == 12, "KVM_GET_API_VERSION", version, "run a Linux host on x86-64"));
    findings.extend(TYPES.iter().map(|(name, subject, remedy)| vm_type(kvm, name, subject, remedy)));
    findings.extend(capabilities(kvm));
    if kvm.vms.contains_key("snp") {
        findings.extend(snp(kvm));
    }
    if let Some(Answer::Value(_)) = kvm.vms.get("tdx") {
        findings.push(tdx(kvm));
    }
}

fn tdx(kvm: &answer::Kvm) -> Finding {
    let source = "KVM_TDX_CAPABILITIES on a TDX VM";
    match &kvm.tdx_capabilities {
        Answer::Value(TdxCapabilities { attributes, xfam, cpuid_leaves }) => TDX_OFFERS.ok(
            source,
            format!("attributes {attributes}, XFAM {xfam}, {cpuid_leaves} leaves of CPUID to configure"),
        ),
        Answer::NotAsked => {
            TDX_OFFERS.unknown(source, kvm.tdx_capabilities.why_not(), "record the host again")
        }
        other => {
            let remedy = "use Linux 6.16 or later as its makers ship it: out-of-tree TDX speaks another ABI";
            TDX_OFFERS.missing(source, other.why_not(), remedy)
        }
    }
}

fn vm_type(kvm: &answer::Kvm, name: &str, subject: &Subject, remedy: &str) -> Finding {
    let types = kvm.system.get("vm_types").copied().unwrap_or(0);
    let names: Vec<_> =
        VM_TYPES.iter().filter(|(_, bit)| bit_of(types, *bit)).map(|(name, _)| *name).collect();
    let source = "KVM_CHECK_EXTENSION(KVM_CAP_VM_TYPES), KVM_CREATE_VM";
    let offered = format!("{types:#x}: {}", names.join(", "));
    match kvm.vms.get(name) {
        Some(Answer::Value(_)) => subject.ok(source, offered),
        Some(other) => {
            let remedy = match other {
                Answer::Errno(libc::ENOMEM) => "free memory",
                Answer::Errno(libc::EBUSY) => "end other guests, or a hypervisor that holds the processor",
                _ => "see the end of `dmesg`",
            };
            subject.missing(source, format!("{offered}; making one failed: {}", other.why_not()), remedy)
        }
        None => subject.missing(source, offered, remedy),
    }
}

fn bit_of(value: i32, bit: u32) -> bool {
    value.cast_unsigned().checked_shr(bit).unwrap_or(0) & 1 != 0
}

fn capabilities(kvm: &answer::Kvm) -> Vec<Finding> {
    let of = |vm: &str, name: &str| match kvm.vms.get(vm) {
        Some(Answer::Value(values)) => values.get(name).copied().unwrap_or(0),
        _ => 0,
    };
    let system = |name: &str| kvm.system.get(name).copied().unwrap_or(0);
    // A VM with private memory answers best; without one, the system's answer is the most that there can be.
    let private: Vec<_> =
        ["snp", "tdx", "protected"].into_iter().filter(|t| kvm.vms.contains_key(*t)).collect();
    let best = |name: &str| private.iter().map(|t| of(t, name)).max().unwrap_or_else(|| system(name));
    let ask = |name: &str| format!("KVM_CHECK_EXTENSION(KVM_CAP_{})", name.to_uppercase());
    let shown = |value: i32| format!("{value:#x}");
    let decide = |subject: &Subject, name: &str, good: fn(i32) -> bool| {
        let value = best(name);
        subject.judge(good(value), ask(name), shown(value), BUILT_FOR)
    };
    let split = of("default", "split_irqchip").max(system("split_irqchip"));
    let mut findings = vec![
        SPLIT.judge(split != 0, ask("split_irqchip"), shown(split), KERNEL),
        decide(&MEMFD, "guest_memfd", |v| v > 0),
        decide(&ATTRIBUTES, "memory_attributes", |v| bit_of(v, PRIVATE_ATTRIBUTE)),
        decide(&HYPERCALL, "exit_hypercall", |v| bit_of(v, MAP_GPA_RANGE)),
    ];
    let advise = |subject: &Subject, name: &str, value: i32, good: bool, remedy: &str| {
        if good {
            subject.ok(ask(name), shown(value))
        } else {
            subject.note(ask(name), shown(value), Some(remedy))
        }
    };
    let prefault = best("pre_fault_memory");
    findings.push(advise(&PREFAULT, "pre_fault_memory", prefault, prefault > 0, FOR_PREFAULT));
    let flags = of("default", "guest_memfd_flags");
    findings.push(advise(&PLAIN_MEMFD, "guest_memfd_flags", flags, flags & 3 == 3, KERNEL));
    let size = format!("{} vCPUs", system("max_vcpus"));
    findings.push(WIDTH.ok(ask("max_vcpus"), size));
    findings
}

/// The system's SEV attributes: group 1 of KVM_GET_DEVICE_ATTR on /dev/kvm.
fn snp(kvm: &answer::Kvm) -> [Finding; 3] {
    let source = |n: u64| format!("KVM_GET_DEVICE_ATTR on /dev/kvm, group 1 attribute {n}");
    let show = |subject: &Subject, number: u64, text: fn(u64) -> String| match kvm.sev_attribute(number) {
        Answer::Value(value) => subject.ok(source(number), text(value)),
        other => subject.note(source(number), other.why_not(), Some(KERNEL)),
    };
    [
        show(&FEATURES, 0, |v| {
            let bit = |bit: u32, name| (v & 1 << bit != 0).then_some(name);
            let names: Vec<_> = [bit(5, "debug swap"), bit(9, "Secure TSC")].into_iter().flatten().collect();
            format!("{v:#x}: {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") })
        }),
        show(&POLICY, 1, |v| format!("{v:#x}")),
        show(&CERTIFICATES, 2, |v| if v == 0 { "no".to_owned() } else { "yes".to_owned() }),
    ]
}
