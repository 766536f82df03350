//! CPUID and model-specific registers of this machine.
#![allow(unsafe_code, reason = "CPUID is an intrinsic")]

use std::arch::x86_64::__cpuid_count;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::hex;
use crate::doctor::answer::Answer;

/// AMD: SYSCFG, RMP_BASE, RMP_END (AMD APM vol. 2, and arch/x86/include/asm/msr-index.h).
const AMD_MSRS: [u32; 3] = [0xc001_0010, 0xc001_0132, 0xc001_0133];
/// Intel: MKTME_KEYID_PARTITIONING, TME_ACTIVATE, SEAMRR_MASK (Intel SDM vol. 4; the last in Intel's TDX guides).
const INTEL_MSRS: [u32; 3] = [0x87, 0x982, 0x1401];

pub(super) fn cpuid() -> BTreeMap<String, [String; 4]> {
    let mut leaves = BTreeMap::new();
    let highest = [query(0, 0)[0], query(0x4000_0000, 0)[0], query(0x8000_0000, 0)[0]];
    let hypervisor = query(1, 0)[2] & 1 << 31 != 0;
    for (leaf, subleaf) in [(0, 0), (7, 0), (0x4000_0000, 0), (0x8000_001f, 0)] {
        let there = match leaf {
            0x4000_0000 => hypervisor,
            0x8000_0000.. => leaf <= highest[2],
            _ => leaf <= highest[0],
        };
        if there {
            leaves.insert(format!("{leaf:#x}"), query(leaf, subleaf).map(|r| hex(r.into())));
        }
    }
    leaves
}

fn query(leaf: u32, subleaf: u32) -> [u32; 4] {
    // SAFETY: every x86-64 processor has the instruction.
    #[allow(unused_unsafe, reason = "newer compilers know that it is safe")]
    let r = unsafe { __cpuid_count(leaf, subleaf) };
    [r.eax, r.ebx, r.ecx, r.edx]
}

/// "GenuineIntel" begins with "Genu", in EBX.
pub(super) fn is_intel(leaves: &BTreeMap<String, [String; 4]>) -> bool {
    leaves.get("0x0").is_some_and(|r| r[1] == hex(0x756e_6547))
}

pub(super) fn msrs(intel: bool) -> Answer<BTreeMap<String, String>> {
    let device = match File::open("/dev/cpu/0/msr") {
        Ok(device) => device,
        Err(error) => return Answer::from(Err(error)),
    };
    let mut values = BTreeMap::new();
    for number in if intel { INTEL_MSRS } else { AMD_MSRS } {
        let mut value = [0; 8];
        // One that this processor does not have is refused.
        if device.read_exact_at(&mut value, number.into()).is_ok() {
            values.insert(hex(number.into()), hex(u64::from_le_bytes(value)));
        }
    }
    Answer::Value(values)
}
