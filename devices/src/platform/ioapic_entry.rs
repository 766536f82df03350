//! A redirection entry, and the message that it stands for.

use crate::irq::MsiMessage;

const DELIVERY_STATUS: u64 = 1 << 12;
const REMOTE_IRR: u64 = 1 << 14;
const LEVEL: u64 = 1 << 15;
const MASKED: u64 = 1 << 16;
const READ_ONLY: u64 = DELIVERY_STATUS | REMOTE_IRR;
/// Vector to mask, and the destination; what lies between is reserved.
const WRITABLE: u64 = (0xff << 56) | 0x1_ffff & !READ_ONLY;

const LOWEST_PRIORITY: u32 = 1;
const MSI_BASE: u64 = 0xfee0_0000;
const MSI_REDIRECTION_HINT: u64 = 1 << 3;
const MSI_ASSERT: u32 = 1 << 14;
const MSI_LEVEL: u32 = 1 << 15;

/// One of the 64-bit entries of the redirection table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry(u64);

impl Default for Entry {
    fn default() -> Self {
        Entry(MASKED)
    }
}

impl Entry {
    pub(super) fn is_masked(self) -> bool {
        self.0 & MASKED != 0
    }

    pub(super) fn is_level(self) -> bool {
        self.0 & LEVEL != 0
    }

    /// Whether a level-triggered interrupt was delivered and not ended yet.
    pub(super) fn in_service(self) -> bool {
        self.0 & REMOTE_IRR != 0
    }

    pub(super) fn set_in_service(&mut self, on: bool) {
        self.0 = if on { self.0 | REMOTE_IRR } else { self.0 & !REMOTE_IRR };
    }

    pub(super) fn vector(self) -> u8 {
        self.0 as u8
    }

    /// The low or high half.
    pub(super) fn half(self, high: bool) -> u32 {
        (if high { self.0 >> 32 } else { self.0 }) as u32
    }

    /// A guest's write of a half. Read-only bits stay; an edge-triggered entry is never in service, which
    /// is also how Linux ends an interrupt on an I/O APIC without EOI register.
    pub(super) fn write_half(&mut self, high: bool, value: u32) {
        let value = u64::from(value);
        let merged = if high { (self.0 & 0xffff_ffff) | (value << 32) } else { (self.0 >> 32 << 32) | value };
        self.0 = (merged & WRITABLE) | (self.0 & READ_ONLY);
        if !self.is_level() {
            self.set_in_service(false);
        }
    }

    /// The message that delivers it, by the compatibility format of the local APIC's address window.
    pub(super) fn message(self) -> MsiMessage {
        let (destination, logical) = (self.0 >> 56, (self.0 >> 11) & 1);
        let delivery = (self.0 >> 8) as u32 & 7;
        let hint = if delivery == LOWEST_PRIORITY { MSI_REDIRECTION_HINT } else { 0 };
        let level = if self.is_level() { MSI_LEVEL } else { 0 };
        MsiMessage {
            address: MSI_BASE | (destination << 12) | hint | (logical << 2),
            data: u32::from(self.vector()) | (delivery << 8) | MSI_ASSERT | level,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_become_messages() {
        let mut entry = Entry::default();
        entry.write_half(true, 0x0300_0000);
        entry.write_half(false, 0x0000_0041);
        assert_eq!(entry.message(), MsiMessage { address: 0xfee0_3000, data: 0x4041 });
        entry.write_half(false, 0x0000_a941);
        assert_eq!(entry.message(), MsiMessage { address: 0xfee0_300c, data: 0xc141 });
    }

    #[test]
    fn reserved_and_read_only_bits_do_not_stick() {
        let mut entry = Entry::default();
        entry.write_half(true, u32::MAX);
        entry.write_half(false, u32::MAX);
        assert_eq!((entry.half(true), entry.half(false)), (0xff00_0000, 0x0001_afff));
    }
}
