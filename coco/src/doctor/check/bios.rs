//! Settings of the machine's firmware, as far as they show.

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
use super::{SNP, TDX};
use crate::doctor::finding::{Area, Finding, Role, Subject};

const fn subject(id: &'static str, tdx: bool, what: &'static str, expected: &'static str) -> Subject {
    let platforms = if tdx { TDX } else { SNP };
    Subject { id, area: Area::Bios, role: Role::Explains, platforms, what, expected }
}

const SME: Subject = subject(
    "bios.memory-encryption",
    false,
    "memory encryption, switched on",
    "SYSCFG (MSR 0xc0010010) bit 23, or the flag sev",
);
const ASIDS: Subject =
    subject("bios.sev-es-asids", false, "ASIDs set aside for SEV-ES and SNP", "CPUID 0x8000001f EDX above 1");
const RMP: Subject = subject(
    "bios.rmp",
    false,
    "memory set aside for the RMP",
    "RMP_BASE and RMP_END (MSR 0xc0010132, 0xc0010133)",
);
const TME: Subject =
    subject("bios.tme", true, "total memory encryption, switched on", "TME_ACTIVATE (MSR 0x982) bit 1");
const KEYS: Subject = subject(
    "bios.tdx-keys",
    true,
    "key ids set aside for TDX",
    "at least 2 private key ids (MSR 0x87, bits 63:32)",
);
const SEAM: Subject =
    subject("bios.seam", true, "memory set aside for the TDX module", "SEAMRR_MASK (MSR 0x1401) bit 11");

const AMD_MENU: &str = "firmware setup: AMD CBS > CPU Common Options";
const INTEL_MENU: &str = "firmware setup: Socket Configuration > Processor Configuration > TME, TME-MT, TDX";

pub(super) fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    // A virtual machine's firmware has no such settings.
    if facts.is_virtual() {
        return;
    }
    match facts.vendor {
        Vendor::Amd => {
            findings.extend([memory_encryption(facts), asids(facts), rmp(facts)].into_iter().flatten())
        }
        Vendor::Intel if facts.may_have_tdx() => findings.extend([tme(facts), key_ids(facts), seam(facts)]),
        _ => {}
    }
}

fn memory_encryption(facts: &Facts) -> Option<Finding> {
    let remedy = format!("{AMD_MENU}: SMEE = Enabled, SEV Control = Enabled");
    match facts.msr(0xc001_0010) {
        Ok(value) => {
            Some(SME.judge(value & 1 << 23 != 0, "SYSCFG (MSR 0xc0010010)", format!("{value:#x}"), remedy))
        }
        // The kernel takes the flag away when the bit is off; a processor without SEV is told of elsewhere.
        Err(_) => {
            let [eax, ..] = facts.cpuid("0x8000001f")?;
            let flag = facts.flag("sev");
            let observed = if flag { "sev" } else { "no sev, which the processor has" };
            (eax & 1 << 1 != 0).then(|| SME.judge(flag, "/proc/cpuinfo, flags", observed, remedy))
        }
    }
}

fn asids(facts: &Facts) -> Option<Finding> {
    let [eax, _, most, first] = facts.cpuid("0x8000001f")?;
    (eax & 1 << 3 != 0).then(|| {
        let source = "CPUID 0x8000001f ECX, EDX";
        let for_es = first.saturating_sub(1);
        let observed = format!("{for_es} of {most} ASIDs are for SEV-ES and SNP guests");
        let remedy =
            format!("{AMD_MENU}: SEV-ES ASID Space Limit = the number of SNP guests wanted and 1 more");
        ASIDS.judge(first > 1, source, observed, remedy)
    })
}

fn rmp(facts: &Facts) -> Option<Finding> {
    let [eax, ..] = facts.cpuid("0x8000001f")?;
    if eax & 1 << 4 == 0 {
        return None;
    }
    let remedy = format!(
        "{AMD_MENU}: SNP Memory (RMP Table) Coverage = Enabled, and NBIO Common Options: SEV-SNP Support = Enable"
    );
    let log = "the kernel's log";
    if let Some(line) =
        facts.log("has not been reserved by BIOS").or_else(|| facts.log("RMP configuration not valid"))
    {
        return Some(RMP.missing(log, line, remedy));
    }
    if let Some(line) = facts.log("does not cover full system RAM") {
        let remedy = format!("{AMD_MENU}: SNP Memory (RMP Table) Coverage = Enabled, for all memory");
        return Some(RMP.missing(log, line, remedy));
    }
    if let Some(line) = facts.log("RMP table physical range") {
        return Some(RMP.ok(log, line));
    }
    Some(match (facts.msr(0xc001_0132), facts.msr(0xc001_0133)) {
        (Ok(base), Ok(end)) => RMP.judge(
            base != 0 && end > base,
            "RMP_BASE, RMP_END (MSR 0xc0010132, 0xc0010133)",
            format!("{base:#x} to {end:#x}"),
            remedy,
        ),
        (Err(why), _) | (_, Err(why)) => RMP.unknown(
            "MSR 0xc0010132",
            format!("{}; the register: {why}", facts.log_silence()),
            Facts::READ_MSR,
        ),
    })
}

fn tme(facts: &Facts) -> Finding {
    let remedy = format!("{INTEL_MENU}: Total Memory Encryption = Enabled, TME-MT = Enabled");
    match facts.msr(0x982) {
        Ok(value) => {
            TME.judge(value & 1 << 1 != 0, "TME_ACTIVATE (MSR 0x982)", format!("{value:#x}"), remedy)
        }
        Err(why) => {
            match (facts.log("x86/tme: enabled by BIOS"), facts.log("x86/tme: not enabled by BIOS")) {
                (Some(line), _) => TME.ok("the kernel's log", line),
                (_, Some(line)) => TME.missing("the kernel's log", line, remedy),
                _ => TME.unknown(
                    "MSR 0x982",
                    format!("{}; the register: {why}", facts.log_silence()),
                    Facts::READ_MSR,
                ),
            }
        }
    }
}

fn key_ids(facts: &Facts) -> Finding {
    let remedy = format!("{INTEL_MENU}: TDX = Enabled, TME-MT/TDX key split = anything but 0");
    match facts.msr(0x87) {
        Ok(value) => {
            let (shared, private) = (value & 0xffff_ffff, value >> 32);
            let observed = format!("{private} private key ids, {shared} others");
            KEYS.judge(private >= 2, "IA32_MKTME_KEYID_PARTITIONING (MSR 0x87)", observed, remedy)
        }
        Err(why) => {
            if let Some(line) = facts.log("private KeyID range") {
                KEYS.ok("the kernel's log", line)
            } else if let Some(line) = facts.log("too few private KeyIDs") {
                KEYS.missing("the kernel's log", line, remedy)
            } else {
                KEYS.unknown(
                    "MSR 0x87",
                    format!("{}; the register: {why}", facts.log_silence()),
                    Facts::READ_MSR,
                )
            }
        }
    }
}

fn seam(facts: &Facts) -> Finding {
    let remedy = format!("{INTEL_MENU}: SEAM Loader = Enabled");
    match facts.msr(0x1401) {
        Ok(value) => {
            SEAM.judge(value & 1 << 11 != 0, "SEAMRR_MASK (MSR 0x1401)", format!("{value:#x}"), remedy)
        }
        Err(why) => match facts.log("virt/tdx: module initialized") {
            Some(line) => SEAM.ok("the kernel's log", line),
            None => SEAM.unknown("MSR 0x1401", why, Facts::READ_MSR),
        },
    }
}
