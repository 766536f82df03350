//! What the firmware checks of a CPUID page (coco.md 2.7): the count, the reserved fields, the size of the XSAVE
//! area, and bits that the hypervisor would have to emulate; of a page for an AMD processor also the policy in
//! its Processor Programming Reference ("CPUID Policy Enforcement").

use super::cpuid_policy;

use crate::memory::PAGE_SIZE;

type Page = [u8; PAGE_SIZE as usize];

/// Entries that fit.
const ENTRIES: u32 = 64;
const HEADER: usize = 16;
const ENTRY: usize = 48;

/// Offsets in an entry.
const LEAF: usize = 0;
const SUBLEAF: usize = 4;
const EAX: usize = 24;
const EBX: usize = 28;
const ECX: usize = 32;
const EDX: usize = 36;
const RESERVED: std::ops::Range<usize> = 40..48;

/// Size of the XSAVE area for XCR0 = 1, XSS = 0: the legacy region and the header.
const XSAVE_MINIMUM: u32 = 0x240;

/// The page as the firmware would take it; the same page if it takes it. `policy`: whether the processor is one
/// of AMD's, with what these have.
pub(super) fn corrected(page: &Page, policy: bool) -> Page {
    let mut page = *page;
    let (header, table) = page.split_at_mut(HEADER);
    header[4..].fill(0);
    let count = get(header, 0).min(ENTRIES);
    set(header, 0, count);
    for entry in table.chunks_exact_mut(ENTRY).take(count as usize) {
        correct(entry);
        if policy {
            let allowed = cpuid_policy::allowed(get(entry, LEAF), get(entry, SUBLEAF));
            for (register, mask) in [EAX, EBX, ECX, EDX].into_iter().zip(allowed) {
                clear(entry, register, !mask);
            }
        }
    }
    page
}

fn correct(entry: &mut [u8]) {
    entry[RESERVED].fill(0);
    match (get(entry, LEAF), get(entry, SUBLEAF)) {
        (1, _) => clear(entry, ECX, 1 << 24), // TSC deadline
        (7, 0) => {
            clear(entry, EBX, 1 << 1); // TSC_ADJUST
            clear(entry, EDX, 0xfc00_0000); // SPEC_CTRL to SSBD
        }
        (0xd, 0 | 1) => set(entry, EBX, XSAVE_MINIMUM),
        (0x8000_0008, _) => clear(entry, EBX, 1 << 25), // VIRT_SSBD
        (0x8000_0021, _) => clear(entry, ECX, u32::MAX),
        _ => {}
    }
}

fn clear(entry: &mut [u8], register: usize, bits: u32) {
    set(entry, register, get(entry, register) & !bits);
}

fn get(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn set(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
