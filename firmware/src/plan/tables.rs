//! Tables that the CPU reads: descriptors, page tables, task state.

use super::{DescriptorTable, MemoryRange, Segment, low};

/// CR0.PE.
pub(super) const CR0_PE: u64 = 1;
/// CR0.MP.
pub(super) const CR0_MP: u64 = 1 << 1;
/// CR0.ET, fixed to 1.
pub(super) const CR0_ET: u64 = 1 << 4;
/// CR0.NE.
pub(super) const CR0_NE: u64 = 1 << 5;
/// CR0.PG.
pub(super) const CR0_PG: u64 = 1 << 31;
/// CR4.PAE.
pub(super) const CR4_PAE: u64 = 1 << 5;
/// CR4.OSFXSR and CR4.OSXMMEXCPT: SSE may be used.
pub(super) const CR4_SSE: u64 = 1 << 9 | 1 << 10;
/// EFER.LME and EFER.LMA.
pub(super) const EFER_LONG_MODE: u64 = 1 << 8 | 1 << 10;
/// RFLAGS with only its fixed bit: interrupts off.
pub(super) const RFLAGS_FIXED: u64 = 2;

/// Attributes in the VMSA's form, by what the segment is for.
pub(super) mod attributes {
    /// 64-bit code, CPL 0.
    pub(in crate::plan) const CODE64: u16 = 0xa9b;
    /// 32-bit code, CPL 0.
    pub(in crate::plan) const CODE32: u16 = 0xc9b;
    /// Flat data, CPL 0.
    pub(in crate::plan) const DATA: u16 = 0xc93;
    /// Flat data, CPL 3.
    pub(in crate::plan) const USER_DATA: u16 = 0xcf3;
    /// 64-bit code, CPL 3.
    pub(in crate::plan) const USER_CODE64: u16 = 0xafb;
    /// A busy TSS (32 or 64 bits, by the mode).
    pub(in crate::plan) const TSS_BUSY: u16 = 0x8b;
    /// An available TSS, as it stands in memory, so that the guest may load it again.
    pub(in crate::plan) const TSS: u16 = 0x89;
    /// An LDT, empty.
    pub(in crate::plan) const LDT: u16 = 0x82;
}

/// A flat segment of 4 GiB.
pub(super) const fn flat(selector: u16, attributes: u16) -> Segment {
    Segment { selector, attributes, limit: u32::MAX, base: 0 }
}

/// LDTR with nothing in it.
pub(super) const EMPTY_LDT: Segment =
    Segment { selector: 0, attributes: attributes::LDT, limit: 0xffff, base: 0 };

/// A segment as an 8-byte descriptor (AMD APM vol. 2, 4.7 and 4.8). Bits 63:32 of the base are lost.
pub(super) const fn descriptor(s: &Segment) -> u64 {
    let attributes = s.attributes as u64;
    let granular = attributes >> 11 & 1 == 1;
    let limit = if granular { s.limit >> 12 } else { s.limit } as u64;
    (limit & 0xffff)
        | (s.base & 0xff_ffff) << 16
        | (attributes & 0xff) << 40
        | (limit >> 16 & 0xf) << 48
        | (attributes >> 8 & 0xf) << 52
        | (s.base >> 24 & 0xff) << 56
}

/// A GDT at [`low::GDT`] with these entries: its bytes and its register.
pub(super) fn gdt(entries: &[u64]) -> (Vec<u8>, DescriptorTable) {
    let bytes: Vec<u8> = entries.iter().flat_map(|e| e.to_le_bytes()).collect();
    let limit = (bytes.len() as u16).saturating_sub(1);
    (bytes, DescriptorTable { base: low::GDT.start, limit })
}

/// Who may use the identity map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// CPL 0 only.
    Supervisor,
    /// Every level has the user bit set.
    User,
}

/// Page tables at [`low::PAGE_TABLES`] that map the first 4 GiB to themselves with 2 MiB pages,
/// present and writable. `private_bit` is or-ed into every entry (the C-bit of SNP; 0 elsewhere).
pub(super) fn identity_map(access: Access, private_bit: u64) -> Vec<u8> {
    /// Present, writable.
    const TABLE: u64 = 0b011;
    /// Reachable from CPL 3.
    const USER: u64 = 0b100;
    /// This entry maps a 2 MiB page.
    const LARGE: u64 = 1 << 7;
    /// Entries in a table of any level.
    const ENTRIES: u64 = 512;
    /// GiB that are mapped: one page directory each.
    const GIBS: u64 = 4;

    let MemoryRange { start, size } = low::PAGE_TABLES;
    let user = if access == Access::User { USER } else { 0 };
    let flags = TABLE | user | private_bit;
    let mut entries = vec![0; (2 * ENTRIES) as usize];
    entries[0] = (start + 0x1000) | flags;
    for gib in 0..GIBS {
        entries[(ENTRIES + gib) as usize] = (start + 0x2000 + gib * 0x1000) | flags;
    }
    entries.extend((0..GIBS * ENTRIES).map(|i| (i << 21) | flags | LARGE));
    debug_assert_eq!(entries.len() as u64 * 8, size);
    entries.iter().flat_map(|e| e.to_le_bytes()).collect()
}

/// A 64-bit TSS with only RSP0 and an I/O map base past its end: no port is open to CPL 3 (AMD APM
/// vol. 2, 12.2.5).
pub(super) fn tss64(rsp0: u64) -> [u8; 104] {
    let mut tss = [0; 104];
    tss[4..12].copy_from_slice(&rsp0.to_le_bytes());
    tss[102..104].copy_from_slice(&104u16.to_le_bytes());
    tss
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_those_every_boot_loader_uses() {
        assert_eq!(descriptor(&flat(0x08, attributes::CODE64)), 0x00af_9b00_0000_ffff);
        assert_eq!(descriptor(&flat(0x10, attributes::DATA)), 0x00cf_9300_0000_ffff);
        assert_eq!(descriptor(&flat(0x18, attributes::USER_DATA)), 0x00cf_f300_0000_ffff);
        assert_eq!(descriptor(&flat(0x20, attributes::USER_CODE64)), 0x00af_fb00_0000_ffff);
        let tss = Segment { selector: 0x28, attributes: attributes::TSS, limit: 0x67, base: 0x1100 };
        assert_eq!(descriptor(&tss), 0x0000_8900_1100_0067);
    }

    fn walk(tables: &[u8], address: u64) -> (u64, u64) {
        let base = low::PAGE_TABLES.start;
        let entry = |table: u64, index: u64| {
            let at = (table - base + index * 8) as usize;
            u64::from_le_bytes(tables[at..at + 8].try_into().unwrap())
        };
        let frame = 0x000f_ffff_ffff_f000;
        let l4 = entry(base, address >> 39 & 511);
        let l3 = entry(l4 & frame, address >> 30 & 511);
        let l2 = entry(l3 & frame, address >> 21 & 511);
        ((l2 & frame & !0x1f_ffff) + (address & 0x1f_ffff), l4 & l3 & l2 & 7)
    }

    #[test]
    fn every_address_below_4_gib_maps_to_itself() {
        let tables = identity_map(Access::User, 0);
        assert_eq!(tables.len() as u64, low::PAGE_TABLES.size);
        for address in [0, 0x1234, 0x20_0000, 0x3fff_ffff, 0x4000_0000, 0xfee0_0030, 0xffff_ffff] {
            assert_eq!(walk(&tables, address), (address, 7));
        }
        assert_eq!(walk(&identity_map(Access::Supervisor, 0), 0x123_4567), (0x123_4567, 3));
    }

    #[test]
    fn the_private_bit_is_in_every_entry_that_is_used() {
        let plain = identity_map(Access::Supervisor, 0);
        let private = identity_map(Access::Supervisor, 1 << 51);
        for (a, b) in plain.as_chunks::<8>().0.iter().zip(private.as_chunks::<8>().0) {
            let (a, b) = (u64::from_le_bytes(*a), u64::from_le_bytes(*b));
            assert_eq!(b, if a == 0 { 0 } else { a | 1 << 51 });
        }
    }
}
