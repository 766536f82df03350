//! What the firmware would have in a CPUID page that it refused: it corrects the page, and KVM hands the
//! correction back (`snp_launch_update` in arch/x86/kvm/svm/sev.c).

use std::fmt;

/// A register of a leaf in which the firmware wants something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuidDifference {
    /// Leaf (EAX of the question).
    pub leaf: u32,
    /// Subleaf (ECX of the question).
    pub subleaf: u32,
    /// Which register of the answer.
    pub register: &'static str,
    /// What we gave.
    pub provided: u32,
    /// What the firmware allows.
    pub expected: u32,
}

impl fmt::Display for CpuidDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CpuidDifference { leaf, subleaf, register, provided, expected } = *self;
        write!(
            f,
            "leaf {leaf:#x} subleaf {subleaf:#x} {register}: provided {provided:#010x}, expected {expected:#010x}"
        )?;
        let bits: Vec<_> =
            (0..32).filter(|n| (provided ^ expected) >> n & 1 != 0).map(|n| n.to_string()).collect();
        write!(f, " (bit{} {})", if bits.len() == 1 { "" } else { "s" }, bits.join(", "))
    }
}

/// Entries of a page begin here, are this long, and are no more than this (coco.md 2.7).
const FIRST: usize = 16;
const ENTRY: usize = 48;
const MAX_ENTRIES: usize = 64;

/// Compares a page as it was given with the page as it came back, entry by entry.
pub(super) fn differences(provided: &[u8; 4096], corrected: &[u8; 4096]) -> Vec<CpuidDifference> {
    let entries = |page: &'_ [u8; 4096]| -> Vec<[u32; 12]> {
        let words = |entry: &[u8]| {
            let mut out = [0; 12];
            for (word, bytes) in out.iter_mut().zip(entry.as_chunks::<4>().0) {
                *word = u32::from_le_bytes(*bytes);
            }
            out
        };
        page[FIRST..].chunks_exact(ENTRY).take(MAX_ENTRIES).map(words).collect()
    };
    let mut all = Vec::new();
    for (ours, theirs) in entries(provided).iter().zip(&entries(corrected)) {
        for (register, at) in [("EAX", 6), ("EBX", 7), ("ECX", 8), ("EDX", 9)] {
            if ours[at] != theirs[at] {
                let (leaf, subleaf) = (ours[0], ours[1]);
                let (provided, expected) = (ours[at], theirs[at]);
                all.push(CpuidDifference { leaf, subleaf, register, provided, expected });
            }
        }
    }
    all
}

/// One difference a line, for an error's or a warning's text.
pub(crate) fn lines(differences: &[CpuidDifference]) -> String {
    differences.iter().map(|d| format!("\n  {d}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_register_that_differs_is_named() {
        let mut provided = [0u8; 4096];
        provided[0] = 2;
        provided[16] = 1;
        provided[16 + 48] = 7;
        provided[16 + 48 + 4] = 2;
        let mut corrected = provided;
        // ECX of the first, EDX of the second.
        provided[16 + 32 + 3] = 0x01;
        corrected[16 + 48 + 36] = 0x81;
        let found = differences(&provided, &corrected);
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0].to_string(),
            "leaf 0x1 subleaf 0x0 ECX: provided 0x01000000, expected 0x00000000 (bit 24)"
        );
        assert_eq!(
            found[1].to_string(),
            "leaf 0x7 subleaf 0x2 EDX: provided 0x00000000, expected 0x00000081 (bits 0, 7)"
        );
        assert!(differences(&provided, &provided).is_empty());
    }
}
