//! The CPUID leaves that a dry run's KVM supports: a plain x86-64 processor, the same on every machine, so
//! that the same guest gives the same trace. Nothing of it is measured.

use kvm_bindings::{KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

/// Leaf, subleaf (`u32::MAX` where it has none), EAX, EBX, ECX, EDX.
type Row = (u32, u32, [u32; 4]);

const NONE: u32 = u32::MAX;

const ROWS: &[Row] = &[
    // "AuthenticAMD"
    (0x0, NONE, [0x10, 0x6874_7541, 0x444d_4163, 0x6974_6e65]),
    // Milan's signature; SSE4.2, x2APIC, AES, AVX and what x86-64 has.
    (0x1, NONE, [0x00a0_0f11, 0x0008_0800, 0x76fa_3203, 0x178b_fbff]),
    // FSGSBASE, BMI, AVX2, SMEP, ERMS, INVPCID, RDSEED, ADX, SMAP, CLFLUSHOPT, CLWB, SHA.
    (0x7, 0, [0, 0x219c_07a9, 0x0040_0684, 0]),
    (0xb, 0, [0, 1, 0x100, 0]),
    (0xd, 0, [7, 0x340, 0x340, 0]),
    (0xd, 1, [0xf, 0x340, 0, 0]),
    (0xd, 2, [0x100, 0x240, 0, 0]),
    // "KVMKVMKVM": and its features.
    (0x4000_0000, NONE, [0x4000_0001, 0x4b4d_564b, 0x564b_4d56, 0x4d]),
    (0x4000_0001, NONE, [0x0101_7efb, 0, 0, 0]),
    (0x8000_0000, NONE, [0x8000_0021, 0x6874_7541, 0x444d_4163, 0x6974_6e65]),
    (0x8000_0001, NONE, [0x00a0_0f11, 0x4000_0000, 0x0040_03f3, 0x2fd3_fbff]),
    (0x8000_0007, NONE, [0, 0, 0, 0x100]),
    // 48 address bits, 48 linear.
    (0x8000_0008, NONE, [0x3030, 0x0111_f205, 0x7007, 0]),
    // As KVM has it: SME, SEV, SEV-ES, SNP, coherent caches; the C-bit is 51.
    (0x8000_001f, NONE, [0x41b, 0x33, 0x1fd, 1]),
    (0x8000_0021, NONE, [0x45, 0, 0, 0]),
];

pub(super) fn supported_cpuid() -> Vec<kvm_cpuid_entry2> {
    let entry = |&(function, index, [eax, ebx, ecx, edx]): &Row| {
        let (index, flags) = if index == NONE { (0, 0) } else { (index, KVM_CPUID_FLAG_SIGNIFCANT_INDEX) };
        kvm_cpuid_entry2 { function, index, flags, eax, ebx, ecx, edx, ..Default::default() }
    };
    ROWS.iter().map(entry).collect()
}
