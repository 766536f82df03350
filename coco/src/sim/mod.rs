//! The simulator: a PSP and a TDX module in software, beneath the launch ioctl structs.
//!
//! [`SimPsp`] and [`SimTdx`] stand where `KVM_MEMORY_ENCRYPT_OP` would go to the kernel and the secure
//! processor or the TDX module, so that the production launch code runs unchanged. They keep the launch
//! state machine, refuse what kernel and firmware refuse, compute the measurement from the bytes that
//! arrive (with code of their own: nothing is shared with the prediction), and sign evidence with keys
//! that are public. What they say proves nothing about hardware, and their certificates say so in their
//! names. [`Weather`] disturbs them as the ABI allows.
//!
//! [`Mailbox`] is how a guest reaches the PSP: four I/O ports in place of the GHCB. [`QuoteService`]
//! turns the TDX module's reports into quotes, as Intel's service does.

mod certs;
mod digest;
mod mailbox;
mod psp;
mod quote;
mod report;
mod tdx;
mod user;
mod vmsa;
mod weather;

pub use mailbox::Mailbox;
pub use psp::{SimPsp, SnpPlatform, VcpuRegisters};
pub use quote::{QuoteForm, QuoteServer, QuoteService};
pub use report::{REPORT_SIZE, ReportForm, ReportLayout, ReportVersion};
pub use tdx::{SimTdx, TDREPORT_SIZE, TEE_TCB_SVN, TdxPlatform};
pub use weather::Weather;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod walks;
