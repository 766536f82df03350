//! The memory map that a kernel is handed: e820 for the boot protocol, memmap for PVH.

use crate::plan::{GuestLayout, MemoryRange, low};

/// What a range of addresses is; the numbers are the same in e820 and PVH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum RangeKind {
    /// RAM that the kernel may use.
    Usable = 1,
    /// Not to be touched without knowing what it is.
    Reserved = 2,
}

/// One entry of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapEntry {
    /// Where.
    pub range: MemoryRange,
    /// What.
    pub kind: RangeKind,
}

/// The map of a guest, ascending. `snp_pages`: keep the kernel off the secrets and CPUID pages.
pub fn memory_map(layout: &GuestLayout, snp_pages: bool) -> Vec<MapEntry> {
    use RangeKind::{Reserved, Usable};
    let span = |start: u64, end: u64, kind| MapEntry {
        range: MemoryRange::new(start, end.saturating_sub(start)),
        kind,
    };
    /// Start of the video and ROM area.
    const VIDEO: u64 = 0xa_0000;

    let mut map = Vec::new();
    if snp_pages {
        map.push(span(0, low::SECRETS.start, Usable));
        map.push(span(low::SECRETS.start, low::CPUID.end(), Reserved));
        map.push(span(low::CPUID.end(), low::CONVENTIONAL_END, Usable));
    } else {
        map.push(span(0, low::CONVENTIONAL_END, Usable));
    }
    map.push(span(low::CONVENTIONAL_END, VIDEO, Reserved));
    map.push(span(GuestLayout::ACPI.start, GuestLayout::BIOS_ENTRY.end(), Reserved));
    map.push(span(low::ONE_MIB, layout.low_ram_end(), Usable));
    map.push(MapEntry { range: GuestLayout::ECAM, kind: Reserved });
    map.extend(layout.ram.iter().skip(1).map(|&range| MapEntry { range, kind: Usable }));
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_is_ascending_and_covers_ram_but_the_bios_area() {
        for snp in [false, true] {
            let map = memory_map(&GuestLayout::new(4 << 30), snp);
            for pair in map.windows(2) {
                assert!(pair[0].range.end() <= pair[1].range.start, "{pair:x?}");
            }
            let usable: u64 = map.iter().filter(|e| e.kind == RangeKind::Usable).map(|e| e.range.size).sum();
            let kept = 0x10_0000 - 0x9_fc00 + if snp { 0x2000 } else { 0 };
            assert_eq!(usable, (4 << 30) - kept);
        }
    }
}
