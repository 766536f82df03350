//! The client of the simulator's mailbox: sixteen I/O ports through which a simulated guest talks to
//! the simulated secure processor.
//!
//! | port | access | meaning |
//! |---|---|---|
//! | base+0 | read | signature of presence, "CSIM"; an absent device reads all ones |
//! | base+4 | write | command: 1 begin, 2 report, 3 convert |
//! | base+4 | read | status of the last command |
//! | base+8 | write | appends four bytes to the input |
//! | base+8 | read | takes four bytes from the output |
//! | base+12 | read | bytes of output that are left |
//!
//! All accesses are four bytes wide, little-endian.

use alloc::vec::Vec;
use core::fmt;

use super::{Evidence, EvidenceError, EvidenceProvider};
use crate::protocol::Tee;
use crate::protocol::message::MAX_AUXBLOB;
use crate::snp::layout::REPORT_LEN;

/// First of the mailbox's I/O ports.
pub const BASE: u16 = 0xc1c0;
/// How many ports it has.
pub const WIDTH: u16 = 16;
/// What base+0 reads: "CSIM", little-endian.
pub const MAGIC: u32 = 0x4d49_5343;

const SIGNATURE: u16 = BASE;
const COMMAND: u16 = BASE + 4;
const DATA: u16 = BASE + 8;
const REMAINING: u16 = BASE + 12;

/// Clears the input and the output.
pub const BEGIN: u32 = 1;
/// Makes a report of the 64 bytes of input.
pub const REPORT: u32 = 2;
/// Converts guest pages: GPA, number of pages and attributes are the input, 24 bytes.
pub const CONVERT: u32 = 3;

/// Attribute of CONVERT: to private. As in KVM_HC_MAP_GPA_RANGE (KVM_MAP_GPA_RANGE_ENCRYPTED).
pub const ATTRIBUTE_PRIVATE: u64 = 1 << 4;

/// STATUS of a command that was done.
pub const STATUS_OK: u32 = 0;

/// Four-byte port I/O, as the guest can do it.
pub trait PortIo {
    /// Reads a port.
    fn inl(&mut self, port: u16) -> u32;
    /// Writes a port.
    fn outl(&mut self, port: u16, value: u32);
}

/// Why the mailbox did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MailboxError {
    /// Status 1: the command is unknown, or came at the wrong time.
    BadOrder,
    /// Status 2: the argument is not acceptable.
    BadArgument,
    /// Status 3: the guest is not launched, or the request is refused.
    Refused,
    /// Another status.
    Status(u32),
    /// The output has an impossible size.
    BadSize(u32),
}

impl fmt::Display for MailboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadOrder => f.write_str("the simulator's mailbox got a command out of order"),
            Self::BadArgument => f.write_str("the simulator's mailbox does not accept the argument"),
            Self::Refused => f.write_str("the simulator's mailbox refused"),
            Self::Status(s) => write!(f, "the simulator's mailbox has unknown status {s:#x}"),
            Self::BadSize(n) => write!(f, "the simulator's mailbox offers {n} bytes, which cannot be"),
        }
    }
}

impl core::error::Error for MailboxError {}

impl From<MailboxError> for EvidenceError {
    fn from(error: MailboxError) -> Self {
        match error {
            MailboxError::BadOrder => Self::Failed(1),
            MailboxError::BadArgument => Self::Failed(2),
            MailboxError::Refused => Self::Failed(3),
            MailboxError::Status(s) => Self::Failed(i32::try_from(s).unwrap_or(i32::MAX)),
            MailboxError::BadSize(_) => Self::BadSize,
        }
    }
}

/// The mailbox, once it is known to be there.
#[derive(Debug)]
pub struct Mailbox<P> {
    io: P,
}

impl<P: PortIo> Mailbox<P> {
    /// Looks for the mailbox.
    pub fn probe(mut io: P) -> Option<Self> {
        if io.inl(SIGNATURE) == MAGIC { Some(Self { io }) } else { None }
    }

    /// Asks for a report with `report_data` in it, and the certificates for it.
    pub fn report(&mut self, report_data: &[u8; 64]) -> Result<Evidence, MailboxError> {
        self.command(BEGIN)?;
        self.write(report_data);
        self.command(REPORT)?;
        let offered = self.io.inl(REMAINING);
        let longest = REPORT_LEN.saturating_add(MAX_AUXBLOB);
        let total = usize::try_from(offered).ok().filter(|n| (REPORT_LEN..=longest).contains(n));
        let total = total.ok_or(MailboxError::BadSize(offered))?;
        let mut report = Vec::with_capacity(total.next_multiple_of(4));
        while report.len() < total {
            report.extend_from_slice(&self.io.inl(DATA).to_le_bytes());
        }
        report.truncate(total);
        let auxblob = report.split_off(REPORT_LEN);
        Ok(Evidence { report, auxblob })
    }

    /// Asks for conversion of `pages` pages of 4 KiB from `gpa` on, to private or to shared.
    pub fn convert(&mut self, gpa: u64, pages: u64, private: bool) -> Result<(), MailboxError> {
        self.command(BEGIN)?;
        let attributes = if private { ATTRIBUTE_PRIVATE } else { 0 };
        for value in [gpa, pages, attributes] {
            self.write(&value.to_le_bytes());
        }
        self.command(CONVERT)
    }

    /// Gives the ports back.
    pub fn into_inner(self) -> P {
        self.io
    }

    fn command(&mut self, command: u32) -> Result<(), MailboxError> {
        self.io.outl(COMMAND, command);
        match self.io.inl(COMMAND) {
            STATUS_OK => Ok(()),
            1 => Err(MailboxError::BadOrder),
            2 => Err(MailboxError::BadArgument),
            3 => Err(MailboxError::Refused),
            other => Err(MailboxError::Status(other)),
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        for word in bytes.chunks_exact(4) {
            if let Ok(word) = word.try_into() {
                self.io.outl(DATA, u32::from_le_bytes(word));
            }
        }
    }
}

impl<P: PortIo> EvidenceProvider for Mailbox<P> {
    fn tee(&self) -> Tee {
        Tee::SNP
    }

    fn evidence(&mut self, report_data: &[u8; 64]) -> Result<Evidence, EvidenceError> {
        Ok(self.report(report_data)?)
    }
}

#[cfg(test)]
#[path = "mailbox_test.rs"]
mod tests;
