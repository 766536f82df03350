//! The CPUID table of a vCPU: what KVM supports, with this vCPU's place in the topology.

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};
use vmm_sys_util::fam::Error;

/// Leaf 1 ECX: TSC deadline timer, which KVM's local APIC has though KVM does not list it.
const TSC_DEADLINE: u32 = 1 << 24;
/// Leaf 1 ECX: running under a hypervisor.
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 1 EDX: more than one logical processor in the package.
const HTT: u32 = 1 << 28;

/// The table for vCPU `id` of `count`: one package, one thread a core, APIC id = vCPU id.
pub(crate) fn vcpu_cpuid(supported: &CpuId, id: u32, count: u32) -> Result<CpuId, Error> {
    // Leaves that describe the host's own topology would contradict ours.
    let foreign = |e: &&kvm_cpuid_entry2| !matches!(e.function, 0xb | 0x1f | 0x8000_0026);
    let mut entries: Vec<_> = supported.as_slice().iter().filter(foreign).copied().collect();
    let id_bits = u32::BITS - count.saturating_sub(1).leading_zeros();
    for e in &mut entries {
        match e.function {
            0x1 => {
                e.ebx = (e.ebx & 0x0000_ffff) | count.min(255) << 16 | id << 24;
                e.ecx |= TSC_DEADLINE | HYPERVISOR;
                e.edx = if count > 1 { e.edx | HTT } else { e.edx & !HTT };
            }
            // Cores sharing each cache level (Intel leaf 4, AMD 0x8000001d): none but this one. AMD's processors
            // have an empty leaf 4, which has to stay so: their SNP firmware checks it.
            0x4 if e.eax & 0x1f != 0 => e.eax = (e.eax & 0x0000_3fff) | (count.min(64) - 1) << 26,
            0x8000_001d => e.eax &= 0x0000_3fff,
            0x8000_0008 => e.ecx = id_bits << 12 | (count - 1),
            0x8000_001e => (e.eax, e.ebx, e.ecx) = (id, id, 0),
            _ => {}
        }
    }
    // Leaf 0xb: a thread level of one, a core level of all (Intel SDM vol. 2, CPUID).
    for (index, eax, ebx, kind) in [(0, 0, 1, 1), (1, id_bits, count, 2)] {
        entries.push(kvm_cpuid_entry2 {
            function: 0xb,
            index,
            flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
            eax,
            ebx,
            ecx: index | kind << 8,
            edx: id,
            ..Default::default()
        });
    }
    CpuId::from_entries(&entries)
}

/// Makes the vCPUs those of another CPU model by name: leaf 1 EAX, family, model and stepping.
pub(crate) fn set_signature(cpuid: &mut CpuId, signature: u32) {
    cpuid.as_mut_slice().iter_mut().filter(|e| e.function == 1).for_each(|e| e.eax = signature);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(table: &CpuId, function: u32, index: u32) -> &kvm_cpuid_entry2 {
        table.as_slice().iter().find(|e| e.function == function && e.index == index).unwrap()
    }

    #[test]
    fn every_vcpu_finds_itself() {
        let entry = |function| kvm_cpuid_entry2 { function, ..Default::default() };
        let supported =
            CpuId::from_entries(&[entry(1), entry(0xb), entry(0x8000_0008), entry(0x8000_001e)]).unwrap();
        let table = vcpu_cpuid(&supported, 3, 4).unwrap();
        assert_eq!(leaf(&table, 1, 0).ebx, 3 << 24 | 4 << 16);
        assert_eq!(leaf(&table, 1, 0).edx & HTT, HTT);
        assert_eq!(leaf(&table, 0xb, 1).eax, 2);
        assert_eq!((leaf(&table, 0xb, 1).ebx, leaf(&table, 0xb, 1).edx), (4, 3));
        assert_eq!(leaf(&table, 0x8000_0008, 0).ecx, 2 << 12 | 3);
        assert_eq!(table.as_slice().iter().filter(|e| e.function == 0xb).count(), 2);
        let single = vcpu_cpuid(&supported, 0, 1).unwrap();
        assert_eq!(leaf(&single, 1, 0).edx & HTT, 0);
        assert_eq!(leaf(&single, 0xb, 1).eax, 0);
    }

    #[test]
    fn caches_are_described_where_there_are_any() {
        let cache = |index, eax| kvm_cpuid_entry2 { function: 4, index, eax, ..Default::default() };
        let supported = CpuId::from_entries(&[cache(0, 0x0000_0121), cache(1, 0)]).unwrap();
        let table = vcpu_cpuid(&supported, 0, 4).unwrap();
        assert_eq!((leaf(&table, 4, 0).eax, leaf(&table, 4, 1).eax), (3 << 26 | 0x121, 0));
    }

    #[test]
    fn a_model_is_named_and_nothing_else_changes() {
        let entry = |function| kvm_cpuid_entry2 { function, eax: 5, ebx: 6, ..Default::default() };
        let mut table = CpuId::from_entries(&[entry(0), entry(1)]).unwrap();
        set_signature(&mut table, 0x00a0_0f11);
        assert_eq!((leaf(&table, 0, 0).eax, leaf(&table, 1, 0).eax), (5, 0x00a0_0f11));
        assert_eq!(leaf(&table, 1, 0).ebx, 6);
    }
}
