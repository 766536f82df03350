//! A TD's CPUID: what of it can be chosen, and what vCPUs see of it.

use kvm_bindings::kvm_cpuid_entry2;
use snafu::{OptionExt, Snafu, ensure};

use super::abi::{CpuidEntry, MAX_CPUID_ENTRIES, SIGNIFICANT_INDEX};

/// Guest-physical address width of our TDs, in bits: bits 23:16 of EAX in CPUID leaf
/// 0x80000008 of `KVM_TDX_INIT_VM`.
///
/// 48 is there on every host (52 needs five levels of EPT), and 47 bits beside the shared one are more than
/// the largest guest has memory ([`cloister_firmware::plan::MAX_MEMORY`]).
pub const ADDRESS_WIDTH: u32 = 48;

/// The bit of a guest-physical address that says shared: the highest of its width.
pub const SHARED_BIT: u32 = ADDRESS_WIDTH - 1;

/// The leaf that has the guest-physical address width in bits 23:16 of EAX.
const ADDRESS_SIZES: u32 = 0x8000_0008;
const WIDTH_FIELD: u32 = 0x00ff_0000;

/// TSX: HLE and RTM, CPUID 7.0 EBX.
const TSX: u32 = 1 << 4 | 1 << 11;
/// WAITPKG, CPUID 7.0 ECX.
const WAITPKG: u32 = 1 << 5;

/// Why no CPUID table can be made for a TD.
#[derive(Debug, Snafu, PartialEq, Eq)]
pub enum CpuidError {
    /// The width has no place.
    #[snafu(display(
        "this host does not let CPUID leaf 0x80000008 be configured, which says how wide the guest's \
         addresses are. Update the kernel and the TDX module"
    ))]
    NoAddressWidth,
    /// Longer than KVM takes.
    #[snafu(display(
        "this host has {count} configurable CPUID leaves and takes no more than {MAX_CPUID_ENTRIES}. Update \
         the kernel"
    ))]
    TooMany {
        /// How many.
        count: usize,
    },
}

/// The table for `KVM_TDX_INIT_VM`: of what a guest would see (`supplied`), exactly the leaves that are
/// configurable, and in them the bits that are. KVM refuses a leaf more, the TDX module a bit more.
///
/// Every entry answers for its own subleaf only: KVM takes one that does not for every subleaf of its leaf.
pub(super) fn td_cpuid(
    configurable: &[kvm_cpuid_entry2],
    supplied: &[kvm_cpuid_entry2],
) -> Result<Vec<CpuidEntry>, CpuidError> {
    let mut table: Vec<_> = configurable.iter().filter_map(|mask| configured(mask, supplied)).collect();
    let sizes = table.iter_mut().find(|e| e.function == ADDRESS_SIZES && e.index == 0);
    let sizes = sizes.context(NoAddressWidthSnafu)?;
    sizes.eax = sizes.eax & !WIDTH_FIELD | ADDRESS_WIDTH << WIDTH_FIELD.trailing_zeros();
    ensure!(table.len() <= MAX_CPUID_ENTRIES as usize, TooManySnafu { count: table.len() });
    Ok(table)
}

/// The same table with leaf 0x1f, where a TD looks for its topology, as leaf 0xb has it. Without it the TDX
/// module would show the host's own topology, in both leaves.
pub fn with_topology(supplied: &[kvm_cpuid_entry2]) -> Vec<kvm_cpuid_entry2> {
    let levels = supplied.iter().filter(|e| e.function == 0xb);
    let levels = levels.map(|e| kvm_cpuid_entry2 { function: 0x1f, ..*e });
    supplied.iter().filter(|e| e.function != 0x1f).copied().chain(levels).collect()
}

/// The extended state that KVM supports for a guest of this process, as CPUID leaf 0xd has it: user state in
/// subleaf 0, supervisor state in subleaf 1.
///
/// KVM leaves out what needs the process to ask for permission first (AMX) as long as it has not asked. A TD
/// that has such state all the same runs into EPERM when its vCPUs are told what they see.
pub(super) fn extended_state(supplied: &[kvm_cpuid_entry2]) -> u64 {
    let leaf = |index| supplied.iter().find(|e| e.function == 0xd && e.index == index);
    let user = leaf(0).map_or(0, |e| u64::from(e.eax) | u64::from(e.edx) << 32);
    let supervisor = leaf(1).map_or(0, |e| u64::from(e.ecx) | u64::from(e.edx) << 32);
    user | supervisor | X87_AND_SSE
}

/// What every processor has, and every TD.
const X87_AND_SSE: u64 = 0b11;

/// One leaf of the table; none if the guest has no such leaf (its bits are then zero).
fn configured(mask: &kvm_cpuid_entry2, supplied: &[kvm_cpuid_entry2]) -> Option<CpuidEntry> {
    let found = supplied.iter().find(|e| e.function == mask.function && e.index == mask.index);
    // The width is ours to say, whether or not the leaf was supplied.
    let none = kvm_cpuid_entry2::default();
    let value = found.or((mask.function == ADDRESS_SIZES).then_some(&none))?;
    let (mut ebx, mut ecx) = (value.ebx & mask.ebx, value.ecx & mask.ecx);
    if (mask.function, mask.index) == (7, 0) {
        // KVM does not offer them to TDs and refuses them, whatever the TDX module's mask says.
        ebx &= !TSX;
        ecx &= !WAITPKG;
    }
    Some(CpuidEntry {
        function: mask.function,
        index: mask.index,
        flags: SIGNIFICANT_INDEX,
        eax: value.eax & mask.eax,
        ebx,
        ecx,
        edx: value.edx & mask.edx,
        padding: [0; 3],
    })
}

/// The table for `KVM_SET_CPUID2` of a TD's vCPU, so that KVM believes what the guest sees: leaves as the
/// TDX module shows them (`seen`, from `KVM_TDX_GET_CPUID`), and of those `supplied` what the module leaves
/// to KVM: the hypervisor's own ([`TD_KVM_FEATURES`]), and what differs between vCPUs, which the module's view
/// of the TD does not have.
pub fn agreed_cpuid(supplied: &[kvm_cpuid_entry2], seen: &[kvm_cpuid_entry2]) -> Vec<kvm_cpuid_entry2> {
    let same = |a: &kvm_cpuid_entry2, b: &kvm_cpuid_entry2| a.function == b.function && a.index == b.index;
    let mut table: Vec<_> = seen.iter().filter(|e| !is_topology(e.function)).copied().collect();
    for ours in supplied {
        match table.iter_mut().find(|e| same(e, ours)) {
            // Initial APIC id and number of logical processors.
            Some(theirs) if ours.function == 1 => theirs.ebx = theirs.ebx & 0xffff | ours.ebx & !0xffff,
            Some(_) => {}
            None if ours.function == KVM_CPUID_FEATURES => {
                table.push(kvm_cpuid_entry2 { eax: ours.eax & TD_KVM_FEATURES, ..*ours });
            }
            None => table.push(*ours),
        }
    }
    table
}

/// The leaf with KVM's own features in EAX (KVM_CPUID_FEATURES in arch/x86/include/uapi/asm/kvm_para.h).
const KVM_CPUID_FEATURES: u32 = 0x4000_0001;

/// KVM's features that a TD can use: no I/O delay, unhalting, TLB flushes, IPIs, polling, yielding and wide
/// APIC ids in MSIs.
///
/// KVM names more, and then refuses the MSRs that switch them on (`tdx_has_emulated_msr` in
/// arch/x86/kvm/vmx/tdx.c): a Linux guest that was told of the KVM clock would read one that nobody updates.
const TD_KVM_FEATURES: u32 = 1 << 1 | 1 << 7 | 1 << 9 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 15;

fn is_topology(function: u32) -> bool {
    matches!(function, 0xb | 0x1f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(function: u32, index: u32, regs: [u32; 4]) -> kvm_cpuid_entry2 {
        let [eax, ebx, ecx, edx] = regs;
        kvm_cpuid_entry2 { function, index, eax, ebx, ecx, edx, ..Default::default() }
    }

    fn find(table: &[CpuidEntry], function: u32, index: u32) -> Option<[u32; 4]> {
        let e = table.iter().find(|e| e.function == function && e.index == index)?;
        Some([e.eax, e.ebx, e.ecx, e.edx])
    }

    #[test]
    fn the_table_is_what_can_be_configured_and_no_bit_more() {
        let configurable = [
            leaf(1, 0, [0xf, 0, 1 << 31, 0]),
            leaf(7, 0, [0, u32::MAX, u32::MAX, 1]),
            leaf(7, 1, [0xff, 0, 0, 0]),
            leaf(0x24, 0, [1; 4]),
            leaf(0x8000_0008, 0, [0x00ff_0000, 1 << 9, 0, 0]),
        ];
        let supplied = [
            leaf(1, 0, [0x1f, 7, u32::MAX, 7]),
            leaf(7, 0, [3, u32::MAX, u32::MAX, u32::MAX]),
            leaf(7, 1, [0x1ff, 1, 1, 1]),
            leaf(0x4000_0000, 0, [1; 4]),
            leaf(0x8000_0008, 0, [0x0034_302e, u32::MAX, 5, 5]),
        ];
        let table = td_cpuid(&configurable, &supplied).unwrap();
        assert_eq!(table.len(), 4, "no leaf that is not configurable, none that is not supplied");
        assert_eq!(find(&table, 1, 0), Some([0xf, 0, 1 << 31, 0]));
        assert_eq!(find(&table, 7, 0), Some([0, !TSX, !WAITPKG, 1]), "TSX and WAITPKG never");
        assert_eq!(find(&table, 7, 1), Some([0xff, 0, 0, 0]));
        assert_eq!(find(&table, 0x8000_0008, 0), Some([48 << 16, 1 << 9, 0, 0]), "the width is ours");
        assert!(table.iter().all(|e| e.flags == SIGNIFICANT_INDEX && e.padding == [0; 3]));
    }

    #[test]
    fn the_address_width_is_always_there() {
        let sizes = leaf(0x8000_0008, 0, [0x00ff_0000, 0, 0, 0]);
        let table = td_cpuid(&[sizes], &[]).unwrap();
        assert_eq!(find(&table, 0x8000_0008, 0), Some([48 << 16, 0, 0, 0]));
        assert_eq!(td_cpuid(&[leaf(7, 0, [0; 4])], &[sizes]), Err(CpuidError::NoAddressWidth));
        let many: Vec<_> = (0..256).map(|n| leaf(n, 0, [0; 4])).chain([sizes]).collect();
        assert_eq!(td_cpuid(&many, &many), Err(CpuidError::TooMany { count: 257 }));
        assert_eq!(td_cpuid(&many[1..], &many).unwrap().len(), 256);
    }

    #[test]
    fn the_topology_is_the_guest_s_own() {
        let configurable = [
            leaf(0x1f, 0, [u32::MAX, 0xffff, 0xff00, 0]),
            leaf(0x1f, 1, [u32::MAX, 0xffff, 0xff00, 0]),
            leaf(0x8000_0008, 0, [0x00ff_0000, 0, 0, 0]),
        ];
        let host = leaf(0x1f, 0, [7, 7, 7, 7]);
        let supplied = [host, leaf(0xb, 0, [0, 1, 0x100, 3]), leaf(0xb, 1, [2, 4, 0x201, 3])];
        let table = td_cpuid(&configurable, &with_topology(&supplied)).unwrap();
        assert_eq!(find(&table, 0x1f, 0), Some([0, 1, 0x100, 0]));
        assert_eq!(find(&table, 0x1f, 1), Some([2, 4, 0x200, 0]));
        assert_eq!(with_topology(&with_topology(&supplied)), with_topology(&supplied));
    }

    #[test]
    fn extended_state_is_user_s_and_supervisor_s() {
        let supplied =
            [leaf(0xd, 0, [0x2e7, 1, 1, 1]), leaf(0xd, 1, [0xf, 0x340, 0x1800, 2]), leaf(1, 0, [!0; 4])];
        assert_eq!(extended_state(&supplied), 0x3_0000_1ae7);
        assert_eq!(extended_state(&[]), 3);
    }

    #[test]
    fn the_largest_guest_fits_below_the_shared_bit() {
        let plan = cloister_firmware::plan::GuestLayout::new(cloister_firmware::plan::MAX_MEMORY);
        assert!(plan.ram.last().unwrap().end() <= 1 << SHARED_BIT);
    }

    #[test]
    fn vcpus_are_told_what_they_see_and_who_they_are() {
        let supplied = [
            leaf(1, 0, [1, 0x0304_0800, 0xff, 0xff]),
            leaf(0xb, 0, [1, 2, 3, 3]),
            leaf(0xb, 1, [4, 4, 4, 3]),
            leaf(0x1f, 0, [5, 5, 5, 3]),
            leaf(0x4000_0000, 0, [9; 4]),
            leaf(7, 0, [0, 0xff, 0, 0]),
        ];
        let seen = [
            leaf(1, 0, [2, 0x0000_0801, 0x0f, 0xf0]),
            leaf(7, 0, [0, 0x0f, 0, 0]),
            leaf(0xb, 0, [0; 4]),
            leaf(0x21, 0, [7; 4]),
        ];
        let table = agreed_cpuid(&supplied, &seen);
        let at = |function, index| {
            let e = table.iter().find(|e| e.function == function && e.index == index).unwrap();
            [e.eax, e.ebx, e.ecx, e.edx]
        };
        assert_eq!(at(1, 0), [2, 0x0304_0801, 0x0f, 0xf0], "features of the module, APIC id of the vCPU");
        assert_eq!(at(7, 0), [0, 0x0f, 0, 0]);
        assert_eq!((at(0xb, 0), at(0xb, 1), at(0x1f, 0)), ([1, 2, 3, 3], [4, 4, 4, 3], [5, 5, 5, 3]));
        assert_eq!((at(0x21, 0), at(0x4000_0000, 0)), ([7; 4], [9; 4]));
        assert_eq!(table.len(), 7);
    }

    #[test]
    fn a_td_is_not_told_of_what_kvm_refuses_it() {
        // Clock (0, 3, 24), page faults (4, 10, 14), steal time (5), ends of interrupts (6); KVM names them all.
        let supplied = [leaf(KVM_CPUID_FEATURES, 0, [0x0100_feff, 0, 0, 1])];
        let table = agreed_cpuid(&supplied, &[leaf(1, 0, [0; 4])]);
        let features = table.iter().find(|e| e.function == KVM_CPUID_FEATURES).unwrap();
        assert_eq!((features.eax, features.edx), (0xba82, 1));
    }
}
