//! Making the bounce region shared, by the way that the loader named.

use core::fmt;

use cloister_attestation::agent::mailbox::{Mailbox, MailboxError};
use demo_guest::boot_info::{Conversion, PAGE_SIZE, Range};

use crate::machine::fault;
use crate::machine::port::CpuPorts;

/// KVM_HC_MAP_GPA_RANGE.
const MAP_GPA_RANGE: u64 = 12;
/// Its third argument: pages of 4 KiB, to shared.
const TO_SHARED: u64 = 0;

/// Why the region is not shared.
#[derive(Debug)]
pub enum ConvertError {
    /// There is no mailbox.
    NoMailbox,
    /// The mailbox refused.
    Mailbox(MailboxError),
    /// The hypercall failed.
    Hypercall(i64),
    /// The loader named a way that we do not know.
    Unknown(u32),
}

impl fmt::Display for ConvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMailbox => f.write_str("there is no mailbox"),
            Self::Mailbox(error) => write!(f, "{error}"),
            Self::Hypercall(result) => write!(f, "the hypercall returned {result}"),
            Self::Unknown(method) => write!(f, "conversion method {method} is not known"),
        }
    }
}

/// Makes `range` shared. Says how.
pub fn share(method: Conversion, range: Range) -> Result<&'static str, ConvertError> {
    let pages = range.end.saturating_sub(range.start) / PAGE_SIZE;
    let args = [range.start, pages, TO_SHARED];
    let check = |result| if result == 0 { Ok(()) } else { Err(ConvertError::Hypercall(result)) };
    match method {
        Conversion::NONE => Ok("shared from the start"),
        Conversion::DOORBELL => {
            let mut mailbox = Mailbox::probe(CpuPorts).ok_or(ConvertError::NoMailbox)?;
            mailbox.convert(range.start, pages, false).map_err(ConvertError::Mailbox)?;
            Ok("shared by the mailbox")
        }
        Conversion::VMCALL => check(fault::vmcall(MAP_GPA_RANGE, args)).map(|()| "shared by vmcall"),
        Conversion::VMMCALL => check(fault::vmmcall(MAP_GPA_RANGE, args)).map(|()| "shared by vmmcall"),
        Conversion(other) => Err(ConvertError::Unknown(other)),
    }
}
