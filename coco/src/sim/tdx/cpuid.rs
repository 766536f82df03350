//! The CPUID of a simulated TD: what can be configured, and what it sees in the end.

use crate::tdx::abi::{CpuidEntry, SIGNIFICANT_INDEX};

/// Leaf 0x80000008: EAX[23:16] is how KVM is told the width of guest-physical addresses.
pub(super) const ADDRESS_WIDTHS: u32 = 0x8000_0008;
/// EAX[23:16] there.
pub(super) const GUEST_WIDTH: u32 = 0xff << 16;

/// What can be configured, as (leaf, subleaf if it counts, bits of EAX, EBX, ECX, EDX): of the order of
/// what a module 1.5 has, not copied from one. The bits of TSX and WAITPKG are not among them: KVM hides
/// them.
const CONFIGURABLE: [(u32, Option<u32>, [u32; 4]); 15] = [
    (0x1, None, [0x0fff_3fff, 0x00ff_0000, 0x3104_4d88, 0xb840_0000]),
    (0x4, Some(0), [u32::MAX; 4]),
    (0x4, Some(1), [u32::MAX; 4]),
    (0x4, Some(2), [u32::MAX; 4]),
    (0x4, Some(3), [u32::MAX; 4]),
    (0x5, None, [u32::MAX; 4]),
    (0x7, Some(0), [0, 0xd02b_9328, 0x0241_5f42, 0x0340_4010]),
    (0x7, Some(1), [0x0040_1c30, 0, 0, 0]),
    (0x7, Some(2), [0, 0, 0, 0x0000_0028]),
    (0x1f, Some(0), [u32::MAX; 4]),
    (0x1f, Some(1), [u32::MAX; 4]),
    (0x1f, Some(2), [u32::MAX; 4]),
    (0x1f, Some(3), [u32::MAX; 4]),
    (0x23, Some(0), [0x3, 0, 0, 0]),
    (ADDRESS_WIDTHS, None, [GUEST_WIDTH, 0x0000_0200, 0, 0]),
];

/// What a TD sees whatever is configured (coco.md 3.3), same form. Leaf 0x21 names the module.
const FIXED: [(u32, Option<u32>, [u32; 4]); 11] = [
    (0x0, None, [0x23, 0x756e_6547, 0x6c65_746e, 0x4965_6e69]), // GenuineIntel
    (0x1, None, [0, 0, 0xc6fa_a217, 0x07a9_fbff]),
    (0x6, None, [0x4, 0, 0, 0]),
    (0x7, Some(0), [0x2, 0x2194_24c1, 0x1900_0000, 0xfc00_0400]),
    (0x7, Some(2), [0, 0, 0, 0x0000_0017]),
    (0xd, Some(0), [0x3, 0, 0, 0]),
    (0xd, Some(1), [0xf, 0, 0, 0]),
    (0x21, Some(0), [0, 0x6574_6e49, 0x2020_2020, 0x5844_546c]), // "IntelTDX    "
    (0x8000_0000, None, [ADDRESS_WIDTHS, 0, 0, 0]),
    (0x8000_0001, None, [0, 0, 0x121, 0x2c10_0800]),
    (0x8000_0007, None, [0, 0, 0, 0x100]),
];

fn entry(&(function, index, [eax, ebx, ecx, edx]): &(u32, Option<u32>, [u32; 4])) -> CpuidEntry {
    let flags = if index.is_some() { SIGNIFICANT_INDEX } else { 0 };
    CpuidEntry { function, index: index.unwrap_or(0), flags, eax, ebx, ecx, edx, padding: [0; 3] }
}

/// The entries of TDX_CAPABILITIES.
pub(super) fn configurable() -> Vec<CpuidEntry> {
    CONFIGURABLE.iter().map(entry).collect()
}

/// What a TD configured with `configured` sees, ordered by leaf.
pub(super) fn of_td(configured: &[CpuidEntry]) -> Vec<CpuidEntry> {
    let mut all: Vec<CpuidEntry> = FIXED.iter().map(entry).collect();
    for c in configured {
        match all.iter_mut().find(|e| (e.function, e.index) == (c.function, c.index)) {
            Some(e) => {
                e.eax |= c.eax;
                e.ebx |= c.ebx;
                e.ecx |= c.ecx;
                e.edx |= c.edx;
            }
            None => all.push(*c),
        }
    }
    all.sort_by_key(|e| (e.function, e.index));
    all
}

/// The bits that `value` sets and `mask` does not allow, over all four registers.
pub(super) fn beyond(value: &CpuidEntry, mask: &CpuidEntry) -> bool {
    let gpaw = if value.function == ADDRESS_WIDTHS { GUEST_WIDTH } else { 0 };
    value.eax & !(mask.eax | gpaw) != 0
        || value.ebx & !mask.ebx != 0
        || value.ecx & !mask.ecx != 0
        || value.edx & !mask.edx != 0
}
