//! Memory faults that are nobody's mistake.
//!
//! On a software-protected VM a guest has no say in which side of a page it uses: KVM takes the page's
//! attribute for its wish, looks at it again later in the same fault, and gives up where another vCPU had
//! the page converted in between (arch/x86/kvm/mmu/mmu.c, kvm_mmu_faultin_pfn). The guest tries again. An SNP
//! or TDX guest tries again where the page has meanwhile become what it was used as.

/// Tries in a row of one vCPU at one page. Conversions do not come between so often: after that it is no
/// race but memory that the host does not have.
const TRIES: u32 = 100;

/// The faults of a vCPU at one page, with nothing between them that the vCPU came out of the guest for. One
/// that did something else has got past the page, however often it was raced for before.
#[derive(Debug, Default)]
pub(crate) struct Row {
    gpa: u64,
    tries: u32,
}

impl Row {
    /// Whether to try again at `gpa`.
    pub(super) fn again(&mut self, gpa: u64) -> bool {
        if self.gpa != gpa {
            *self = Row { gpa, tries: 0 };
        }
        self.tries = self.tries.saturating_add(1);
        self.tries <= TRIES
    }

    /// The vCPU came out of the guest for something else.
    pub(crate) fn end(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vcpu_tries_again_and_not_for_ever() {
        let mut row = Row::default();
        assert!((0..TRIES).all(|_| row.again(0x1000)));
        assert!(!row.again(0x1000));
        assert!(row.again(0x2000), "another page");
        assert!(Row::default().again(0x1000), "another vCPU");
    }

    #[test]
    fn races_for_one_page_over_a_guests_life_are_no_row() {
        let mut row = Row::default();
        for _ in 0..10 * TRIES {
            assert!(row.again(0x1000));
            row.end();
        }
    }
}
