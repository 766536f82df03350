//! The SNP CPUID page: the guest's CPUID table in the form that the firmware checks (coco.md 2.7).

use kvm_bindings::kvm_cpuid_entry2;
use snafu::Snafu;

/// The page holds no more entries than this.
const MAX_ENTRIES: usize = 64;

/// The vCPU's CPUID table does not fit into the page.
#[derive(Debug, Snafu)]
#[snafu(display("the CPUID table has {count} leaves that count; an SNP CPUID page holds {MAX_ENTRIES}"))]
pub struct TooManyLeaves {
    count: usize,
}

/// Builds the page from the CPUID table that vCPU 0 gets from KVM.
///
/// Empty leaves are left out: to the guest, what is not in the table is zero. That is why the hypervisor's own
/// leaves have to be in it, which the firmware does not check: Linux asks nobody else for them, and without
/// them it has no KVM clock and nothing to measure its TSC against. Bits that the hypervisor would have to
/// emulate are cleared, because the firmware refuses a page that has them.
pub fn cpuid_page(entries: &[kvm_cpuid_entry2]) -> Result<[u8; 4096], TooManyLeaves> {
    let mut page = [0u8; 4096];
    let leaves: Vec<_> = entries.iter().filter(|e| counts(e)).collect();
    if leaves.len() > MAX_ENTRIES {
        return Err(TooManyLeaves { count: leaves.len() });
    }
    page[0..4].copy_from_slice(&(leaves.len() as u32).to_le_bytes());
    for (slot, e) in page[16..].chunks_exact_mut(48).zip(&leaves) {
        let significant = e.flags & kvm_bindings::KVM_CPUID_FLAG_SIGNIFCANT_INDEX != 0;
        let subleaf = if significant { e.index } else { 0 };
        // The size of the XSAVE area depends on XCR0: it is asked for with XCR0 = 1, XSS = 0.
        let xsave = e.function == 0xd && subleaf <= 1;
        let (ebx, ecx, edx) = match (e.function, subleaf) {
            (1, _) => (e.ebx, e.ecx & !(1 << 24), e.edx),
            (7, 0) => (e.ebx & !(1 << 1), e.ecx, 0),
            (0xd, 0 | 1) => (0x240, e.ecx, e.edx),
            (0x8000_0008, _) => (e.ebx & !(1 << 25), e.ecx, e.edx),
            (0x8000_0021, _) => (e.ebx, 0, e.edx),
            _ => (e.ebx, e.ecx, e.edx),
        };
        slot[0..4].copy_from_slice(&e.function.to_le_bytes());
        slot[4..8].copy_from_slice(&subleaf.to_le_bytes());
        slot[8..16].copy_from_slice(&u64::from(xsave).to_le_bytes());
        for (at, value) in [(24, e.eax), (28, ebx), (32, ecx), (36, edx)] {
            slot[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
    }
    Ok(page)
}

fn counts(e: &kvm_cpuid_entry2) -> bool {
    let empty = e.eax | e.ebx | e.ecx | e.edx == 0;
    // Standard, KVM's own (Documentation/virt/kvm/x86/cpuid.rst), extended.
    !empty && matches!(e.function, 0..=0xffff | 0x4000_0000..=0x4000_ffff | 0x8000_0000..=0x8000_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(function: u32, index: u32, regs: [u32; 4]) -> kvm_cpuid_entry2 {
        let [eax, ebx, ecx, edx] = regs;
        let flags = kvm_bindings::KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
        kvm_cpuid_entry2 { function, index, flags, eax, ebx, ecx, edx, ..Default::default() }
    }

    #[test]
    fn refused_bits_and_foreign_leaves_are_left_out() {
        let page = cpuid_page(&[
            leaf(1, 0, [7, 0, u32::MAX, 0]),
            leaf(0xc000_0000, 0, [1; 4]),
            leaf(2, 0, [0; 4]),
            leaf(0xd, 1, [1, 2, 3, 4]),
        ])
        .unwrap();
        assert_eq!(page[0], 2);
        assert_eq!(page[16 + 35] & 1, 0, "TSC deadline is refused by the firmware");
        assert_eq!(&page[64..72], &[0xd, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(&page[72..80], &1u64.to_le_bytes());
        assert_eq!(&page[92..96], &0x240u32.to_le_bytes());
    }

    #[test]
    fn the_guest_finds_its_hypervisor() {
        let (name, features) = ([0x4000_0001, 0x4b4d_564b, 0x564b_4d56, 0x4d], [0x0101_7efb, 0, 0, 0]);
        let page = cpuid_page(&[leaf(0x4000_0000, 0, name), leaf(0x4000_0001, 0, features)]).unwrap();
        assert_eq!(page[0], 2);
        let words: Vec<u32> = page[16..].as_chunks::<4>().0.iter().map(|w| u32::from_le_bytes(*w)).collect();
        assert_eq!((words[0], &words[6..10]), (0x4000_0000, &name[..]));
        assert_eq!((words[12], &words[18..22]), (0x4000_0001, &features[..]));
    }

    #[test]
    fn a_table_that_does_not_fit_is_refused() {
        let many: Vec<_> = (0..65).map(|i| leaf(0x8000_0000 + i, 0, [1; 4])).collect();
        assert!(cpuid_page(&many).is_err());
        assert!(cpuid_page(&many[..64]).is_ok());
    }
}
