//! Memory faults that are nobody's mistake.
//!
//! On a software-protected VM a guest has no say in which side of a page it uses: KVM takes the page's
//! attribute for its wish, looks at it again later in the same fault, and gives up where another vCPU had
//! the page converted in between (arch/x86/kvm/mmu/mmu.c, kvm_mmu_faultin_pfn). The guest tries again. An SNP
//! or TDX guest tries again where the page has meanwhile become what it was used as.

use std::collections::HashMap;
use std::sync::Mutex;

/// Tries in a row of one vCPU at one page. Conversions do not come between so often: after that it is no
/// race but memory that the host does not have.
const TRIES: u32 = 100;

/// The last such fault of each vCPU, and how often in a row.
#[derive(Debug, Default)]
pub(super) struct Races(Mutex<HashMap<u32, (u64, u32)>>);

impl Races {
    /// Whether the vCPU `apic_id` is to try again at `gpa`.
    pub(super) fn again(&self, apic_id: u32, gpa: u64) -> bool {
        let mut last = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let (page, tries) = last.entry(apic_id).or_insert((gpa, 0));
        if *page != gpa {
            (*page, *tries) = (gpa, 0);
        }
        *tries = tries.saturating_add(1);
        *tries <= TRIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vcpu_tries_again_and_not_for_ever() {
        let races = Races::default();
        assert!((0..TRIES).all(|_| races.again(0, 0x1000)));
        assert!(!races.again(0, 0x1000));
        assert!(races.again(1, 0x1000), "another vCPU");
        assert!(races.again(0, 0x2000), "another page");
    }
}
