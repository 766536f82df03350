//! ReportFatalError: what a TD says when it cannot go on (KVM_SYSTEM_EVENT_TDX_FATAL).

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

/// The registers of the TDVMCALL as KVM hands them over, in the order of their encoding; RAX is replaced by
/// the status of the exit, RSP and RBP are 0 (Documentation/virt/kvm/api.rst, KVM_EXIT_SYSTEM_EVENT).
pub type TdRegisters = [u64; 16];

const RCX: usize = 1;
const R12: usize = 12;
const R13: usize = 13;

/// The registers that may hold the message, in its order (GHCI, TDG.VP.VMCALL<ReportFatalError>): R14, R15,
/// RBX, RDI, RSI, R8, R9, RDX.
const MESSAGE: [usize; 8] = [14, 15, 3, 7, 6, 8, 9, 2];

/// A fatal error that a TD reported. All of it is the guest's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FatalError {
    /// Error code; 0 is a panic.
    pub code: u32,
    /// Guest-physical address of a page with more about it, as the guest gave it.
    pub page: Option<u64>,
    /// The message: printable ASCII, at most 64 characters.
    pub message: String,
}

impl FatalError {
    /// Reads the report. Registers whose bit in RCX is not set were not handed over by the guest.
    pub fn decode(registers: &TdRegisters) -> Self {
        let register = |n: usize| registers.get(n).copied().unwrap_or(0);
        let handed_over = |n: &usize| register(RCX) & 1u64.checked_shl(*n as u32).unwrap_or(0) != 0;
        let bytes = MESSAGE.into_iter().filter(handed_over).flat_map(|n| register(n).to_le_bytes());
        let message = bytes.take_while(|&b| b != 0).map(printable).collect::<String>();
        let r12 = register(R12);
        FatalError {
            code: r12 as u32,
            page: (r12 >> 63 != 0).then(|| register(R13)),
            message: message.trim_end().to_owned(),
        }
    }
}

/// A byte of the guest's as a character that does nothing to a terminal.
fn printable(byte: u8) -> char {
    if matches!(byte, b' '..=b'~') { char::from(byte) } else { '.' }
}

impl fmt::Display for FatalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the TD reported a fatal error, code {:#x}", self.code)?;
        if self.code == 0 {
            write!(f, " (panic)")?;
        }
        if !self.message.is_empty() {
            write!(f, ", saying \"{}\"", self.message)?;
        }
        if let Some(page) = self.page {
            write!(f, ", with more in its page {page:#x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The order once more, as the encodings of R14, R15, RBX, RDI, RSI, R8, R9, RDX.
    const ORDER: [usize; 8] = [14, 15, 3, 7, 6, 8, 9, 2];

    fn with_message(text: &[u8], mask: u64) -> TdRegisters {
        let mut registers = [0; 16];
        registers[RCX] = mask;
        for (n, chunk) in ORDER.into_iter().zip(text.chunks(8)) {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            registers[n] = u64::from_le_bytes(bytes);
        }
        registers
    }

    #[test]
    fn the_message_is_read_in_the_order_of_the_ghci() {
        let text = b"R14.....R15.....RBX.....RDI.....RSI.....R8......R9......RDX.....";
        let all = with_message(text, !0);
        assert_eq!(FatalError::decode(&all).message.as_bytes(), text);
        // R14, RBX and RDX only.
        let some = with_message(text, 1 << 14 | 1 << 3 | 1 << 2);
        assert_eq!(FatalError::decode(&some).message, "R14.....RBX.....RDX.....");
        let none = with_message(text, 0);
        assert_eq!(FatalError::decode(&none).message, "");
    }

    #[test]
    fn code_and_page() {
        let mut registers = with_message(b"no root", !0);
        registers[R13] = 0x1234_5000;
        let error = FatalError::decode(&registers);
        assert_eq!((error.code, error.page), (0, None));
        assert_eq!(error.to_string(), "the TD reported a fatal error, code 0x0 (panic), saying \"no root\"");
        registers[R12] = 1 << 63 | 0x11;
        let error = FatalError::decode(&registers);
        assert_eq!((error.code, error.page), (0x11, Some(0x1234_5000)));
        assert!(error.to_string().ends_with("with more in its page 0x12345000"));
    }

    proptest! {
        #[test]
        fn no_register_reaches_the_terminal_raw(registers: [u64; 16]) {
            let text = FatalError::decode(&registers).to_string();
            prop_assert!(text.bytes().all(|b| (b' '..=b'~').contains(&b)));
            prop_assert!(text.len() < 200);
        }
    }
}
