//! The processor.

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
use super::{ALL, HARDWARE, SNP, TDX};
use crate::doctor::finding::{Area, Finding, Role, Subject};

const VIRTUALISATION: Subject = Subject {
    id: "cpu.virtualisation",
    area: Area::Cpu,
    role: Role::Explains,
    platforms: ALL,
    what: "hardware virtualisation",
    expected: "the flag svm (AMD) or vmx (Intel)",
};
const BARE_METAL: Subject = Subject {
    id: "cpu.bare-metal",
    area: Area::Cpu,
    role: Role::Explains,
    platforms: HARDWARE,
    what: "bare metal",
    expected: "no flag `hypervisor`",
};
const HAS_SNP: Subject = Subject {
    id: "cpu.snp",
    area: Area::Cpu,
    role: Role::Explains,
    platforms: SNP,
    what: "SEV-SNP in the processor",
    expected: "CPUID 0x8000001f EAX bit 4: EPYC 7003 (Milan) or later",
};
const HAS_TDX: Subject = Subject {
    id: "cpu.tdx",
    area: Area::Cpu,
    role: Role::Explains,
    platforms: TDX,
    what: "TDX in the processor",
    expected: "the flag tdx_host_platform: Xeon of the 5th generation, some of the 4th, Xeon 6",
};

const CPUINFO: &str = "/proc/cpuinfo, flags";
const VENDOR: &str = "/proc/cpuinfo, vendor_id";
const LEAF: &str = "CPUID 0x8000001f";

/// Names of bits of CPUID 0x8000001f EAX (AMD APM vol. 3, appendix E).
const FEATURES: [(u32, &str); 9] = [
    (1, "SEV"),
    (3, "SEV-ES"),
    (4, "SEV-SNP"),
    (5, "VMPL"),
    (8, "Secure TSC"),
    (12, "restricted injection"),
    (13, "alternate injection"),
    (14, "debug swap"),
    (18, "vTOM"),
];

pub(super) fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    // What no setting mends comes first.
    let (snp, tdx) = (snp(facts), tdx(facts));
    let (before, after): (Vec<_>, Vec<_>) = match facts.vendor {
        Vendor::Amd => (vec![tdx], vec![snp]),
        Vendor::Intel => (vec![snp], vec![tdx]),
        Vendor::Other | Vendor::Unknown => (vec![snp, tdx], vec![]),
    };
    findings.extend(before);
    findings.push(bare_metal(facts));
    findings.push(virtualisation(facts));
    findings.extend(after);
}

fn virtualisation(facts: &Facts) -> Finding {
    match (facts.flag("svm"), facts.flag("vmx")) {
        (true, _) => VIRTUALISATION.ok(CPUINFO, "svm"),
        (_, true) => VIRTUALISATION.ok(CPUINFO, "vmx"),
        _ if facts.is_virtual() => VIRTUALISATION.missing(
            CPUINFO,
            "neither svm nor vmx, in a virtual machine",
            "switch nested virtualisation on for this machine where it is hosted, or use bare metal",
        ),
        _ => VIRTUALISATION.missing(
            CPUINFO,
            "neither svm nor vmx",
            "switch SVM Mode (AMD) or Intel Virtualization Technology on in the firmware setup",
        ),
    }
}

fn bare_metal(facts: &Facts) -> Finding {
    if !facts.is_virtual() {
        return BARE_METAL.ok(CPUINFO, "no hypervisor");
    }
    let name = facts.cpuid("0x40000000").map(|[_, b, c, d]| {
        let bytes = [b, c, d].map(u32::to_le_bytes).concat();
        bytes.iter().filter(|b| b.is_ascii_graphic()).map(|b| char::from(*b)).collect::<String>()
    });
    let observed = match name.filter(|name| !name.is_empty()) {
        Some(name) => format!("runs under a hypervisor that calls itself `{name}`"),
        None => "runs under a hypervisor".to_owned(),
    };
    BARE_METAL.missing(CPUINFO, observed, "use bare metal: neither SNP nor TDX guests can be nested")
}

fn snp(facts: &Facts) -> Finding {
    const OTHER_CPU: &str = "use a machine with an AMD EPYC 7003 or later";
    match facts.vendor {
        Vendor::Amd => {}
        Vendor::Unknown => {
            return HAS_SNP.unknown(VENDOR, "it does not say whose processor this is", "mount /proc");
        }
        // Nothing else needs to be looked at.
        _ => {
            return Subject { role: Role::Decides, ..HAS_SNP }.missing(
                VENDOR,
                "not a processor of AMD's",
                OTHER_CPU,
            );
        }
    }
    match facts.cpuid("0x8000001f") {
        Some([eax, ..]) => {
            let bit = |bit: u32| eax.checked_shr(bit).unwrap_or(0) & 1 != 0;
            let names: Vec<_> = FEATURES.iter().filter(|(n, _)| bit(*n)).map(|(_, name)| *name).collect();
            let observed =
                if names.is_empty() { "none of the SEV features".into() } else { names.join(", ") };
            HAS_SNP.judge(bit(4), LEAF, observed, OTHER_CPU)
        }
        None if facts.flag("sev_snp") => HAS_SNP.ok(CPUINFO, "sev_snp"),
        None => HAS_SNP.missing(LEAF, "the processor has no such leaf", OTHER_CPU),
    }
}

fn tdx(facts: &Facts) -> Finding {
    const OTHER_CPU: &str = "use a machine with an Intel Xeon that has TDX";
    match facts.vendor {
        Vendor::Intel => {}
        Vendor::Unknown => {
            return HAS_TDX.unknown(VENDOR, "it does not say whose processor this is", "mount /proc");
        }
        _ => {
            return Subject { role: Role::Decides, ..HAS_TDX }.missing(
                VENDOR,
                "not a processor of Intel's",
                OTHER_CPU,
            );
        }
    }
    if facts.flag("tdx_host_platform") {
        HAS_TDX.ok(CPUINFO, "tdx_host_platform")
    } else if facts.flag("tme") {
        HAS_TDX.unknown(
            CPUINFO,
            "no tdx_host_platform, but tme, which TDX builds upon: TDX shows only once BIOS and kernel switch it on",
            "mend what is missing below; see the processor's data sheet for \"Trust Domain Extensions\"",
        )
    } else if facts.is_virtual() {
        HAS_TDX.unknown(CPUINFO, "no tdx_host_platform, as the hypervisor has it", "use bare metal")
    } else {
        HAS_TDX.missing(CPUINFO, "neither tdx_host_platform nor tme, which TDX builds upon", OTHER_CPU)
    }
}
