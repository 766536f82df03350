//! Why a TD's launch failed. The VM is of no use after that and must be destroyed.

use cloister_firmware::plan::{PageKind, SourceError};
use snafu::Snafu;

use super::abi::{TdxCommandId, TdxInitMemRegion};
use super::capabilities::NotOffered;
use super::cpuid::{CpuidError, SHARED_BIT};
use super::refusal::explain;
use super::status::SeamcallStatus;

/// Why a TD's launch failed. Messages end with a sentence that says what to do.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(super)))]
pub enum TdxLaunchError {
    /// A command failed.
    #[snafu(display("{}", command_text(*command, *errno, *status, at)))]
    Command {
        /// Which command.
        command: TdxCommandId,
        /// The kernel's answer.
        errno: i32,
        /// The TDX module's answer, if it was asked.
        status: SeamcallStatus,
        /// What it was about: a vCPU, a page.
        at: String,
    },
    /// The guest asks for attributes or extended state that the host does not have.
    #[snafu(display("{source}"))]
    NotOffered {
        /// Which.
        source: NotOffered,
    },
    /// There is no CPUID table for such a guest on this host.
    #[snafu(display("{source}"))]
    Cpuid {
        /// Why.
        source: CpuidError,
    },
    /// KVM wants more room for CPUID than can be, or says that it wrote more than there was room for.
    #[snafu(display("the host has more CPUID leaves than {room}, which cannot be. Update the kernel"))]
    TooManyLeaves {
        /// Entries that there was room for.
        room: u32,
    },
    /// A page would have the shared bit in its address.
    #[snafu(display(
        "{label} ends at guest address {end:#x}, beyond bit {SHARED_BIT} that says shared. Give the guest \
         less memory"
    ))]
    Beyond {
        /// What the pages are.
        label: &'static str,
        /// Address after the last.
        end: u64,
    },
    /// A page of a kind that only other platforms have.
    #[snafu(display("{label} is of a kind that a TD does not have ({kind:?}). Use firmware for TDX"))]
    Kind {
        /// What the pages are.
        label: &'static str,
        /// The kind.
        kind: PageKind,
    },
    /// The bytes of a page could not be read.
    #[snafu(display("{source}. Leave the guest's files alone while it starts"))]
    Read {
        /// The cause.
        source: SourceError,
    },
    /// INIT_MEM_REGION was given again and again without getting anywhere.
    #[snafu(display(
        "TDX_INIT_MEM_REGION makes no progress at guest address {gpa:#x} ({label}). Start the guest again; \
         if it happens often, start fewer confidential guests at a time"
    ))]
    Stuck {
        /// What is being added.
        label: &'static str,
        /// Where it stands.
        gpa: u64,
    },
    /// The kernel's answer about its progress cannot be.
    #[snafu(display(
        "TDX_INIT_MEM_REGION went from {before:x?} to {after:x?}, which cannot be. Update the kernel"
    ))]
    Nonsense {
        /// What was asked.
        before: TdxInitMemRegion,
        /// What was answered.
        after: TdxInitMemRegion,
    },
}

fn command_text(command: TdxCommandId, errno: i32, status: SeamcallStatus, at: &str) -> String {
    let explanation = explain(command, errno, status);
    let place = if at.is_empty() { String::new() } else { format!(" ({at})") };
    let module = match status {
        SeamcallStatus::NONE => String::new(),
        status => format!("; SEAMCALL status {status}"),
    };
    format!(
        "{}{place} failed: {}: {}{module}. {}",
        command.name(),
        std::io::Error::from_raw_os_error(errno),
        explanation.why,
        explanation.advice
    )
}
