//! What an SNP guest says when it ends itself (KVM_SYSTEM_EVENT_SEV_TERM).

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use std::fmt;

/// Low 12 bits of the GHCB MSR in a termination request of the MSR protocol (GHCB specification 2.3.1).
const TERMINATION_REQUEST: u64 = 0x100;

/// Why an SNP guest ended itself, by its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Termination {
    /// By the MSR protocol, with a reason.
    Reason {
        /// Who defined the code: 0 the GHCB specification, 1 Linux (and SVSMs), others the guest.
        set: u8,
        /// The code.
        code: u8,
    },
    /// By an exit with a GHCB page, which gives no reason that the host can see.
    Unexplained,
    /// A value that is neither.
    Unknown(u64),
}

impl Termination {
    /// Reads the GHCB MSR's value: `data[0]` of the system event.
    pub fn decode(ghcb: u64) -> Self {
        match ghcb & 0xfff {
            TERMINATION_REQUEST => {
                Termination::Reason { set: (ghcb >> 12 & 0xf) as u8, code: (ghcb >> 16 & 0xff) as u8 }
            }
            // The GHCB's own address.
            0 => Termination::Unexplained,
            _ => Termination::Unknown(ghcb),
        }
    }
}

/// The meaning of a code, and what can be done about it. Linux: arch/x86/include/asm/sev-common.h,
/// GHCB_TERM_* and SEV_TERM_SET_*.
fn meaning(set: u8, code: u8) -> (&'static str, &'static str) {
    match (set, code) {
        (0, 0) => ("a general failure", "see the guest's own console"),
        (0, 1) => ("it cannot speak this host's GHCB protocol", "use a newer kernel on the host"),
        (0, 2) => {
            ("this host or launch lacks an SNP feature it needs", "compare vmsa-features= with what it needs")
        }
        (1, 0) => ("KVM did not register its GHCB page", "see the host's kernel log"),
        (1, 1) => (
            "a page's change to private or shared failed",
            "look in this log for a refused conversion; was it given too little memory?",
        ),
        (1, 2) => (
            "PVALIDATE refused a page",
            "the host gave it a page that is not as it was promised: firmware and memory layout disagree",
        ),
        (1, 3) => ("it does not run at VMPL 0", "use a kernel that can run under an SVSM"),
        (1, 4) => {
            ("it found no use in its CPUID page", "use firmware with SEV metadata that has a CPUID page")
        }
        (1, 5) => ("asking the host for a CPUID leaf failed", "see the host's kernel log"),
        (1, 6) => {
            ("it found no use in its secrets page", "use firmware with SEV metadata that has a secrets page")
        }
        (1, 7) => ("it was told of an SVSM that is not there", "check the firmware"),
        (1, 8) => ("the SVSM does not run at VMPL 0", "check the firmware"),
        (1, 9) => ("the SVSM's calling area is wrong", "check the firmware"),
        (1, 10) => ("Secure TSC cannot be set up", "leave Secure TSC out of vmsa-features="),
        (1, 11) => ("the SVSM did not take the new place of its calling area", "check the firmware"),
        (1, 12) => ("Secure AVIC cannot be set up", "leave Secure AVIC out of vmsa-features="),
        (0, _) => ("a code that the GHCB specification does not have", "see the guest's own console"),
        (1, _) => ("a code of Linux that is newer than this program", "see the guest's source"),
        _ => ("a code of its own", "see the guest's source"),
    }
}

impl fmt::Display for Termination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Termination::Reason { set, code } => {
                let (why, remedy) = meaning(set, code);
                write!(f, "the SNP guest ended itself: {why} (reason set {set}, code {code}). {remedy}")
            }
            Termination::Unexplained => {
                write!(f, "the SNP guest ended itself and gave no reason. See the guest's own console")
            }
            Termination::Unknown(value) => {
                write!(f, "the SNP guest ended itself with {value:#x}, which is no termination request")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(set: u64, code: u64) -> u64 {
        0x100 | set << 12 | code << 16
    }

    #[test]
    fn reasons_are_read_from_their_bits() {
        assert_eq!(Termination::decode(value(1, 2)), Termination::Reason { set: 1, code: 2 });
        // Bits above the code are the guest's noise.
        assert_eq!(
            Termination::decode(value(15, 255) | 0xffff << 24),
            Termination::Reason { set: 15, code: 255 }
        );
        assert_eq!(Termination::decode(0x7fff_f000), Termination::Unexplained);
        assert_eq!(Termination::decode(0x7fff_f014), Termination::Unknown(0x7fff_f014));
    }

    #[test]
    fn every_known_code_has_a_meaning_of_its_own() {
        let known = (0..=2).map(|c| (0, c)).chain((0..=12).map(|c| (1, c)));
        let mut meanings: Vec<_> = known.map(|(set, code)| meaning(set, code).0).collect();
        let unknown = [meaning(0, 3).0, meaning(1, 13).0, meaning(2, 0).0];
        assert!(meanings.iter().all(|m| !unknown.contains(m)));
        let all = meanings.len();
        meanings.sort_unstable();
        meanings.dedup();
        assert_eq!((all, meanings.len()), (16, 16));
    }

    #[test]
    fn messages_name_set_and_code_and_what_to_do() {
        assert_eq!(
            Termination::decode(value(1, 4)).to_string(),
            "the SNP guest ended itself: it found no use in its CPUID page (reason set 1, code 4). use firmware \
             with SEV metadata that has a CPUID page"
        );
        assert!(Termination::decode(value(7, 9)).to_string().contains("(reason set 7, code 9)"));
    }
}
