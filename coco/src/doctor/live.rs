//! Asking this machine what no file says: `/dev/kvm`, `/dev/sev`, CPUID, the kernel's log.
//!
//! Nothing is changed: VMs are made and dropped again, empty, and the secure processor is only asked for its
//! state.

mod cpu;
mod kernel_log;
mod kvm;
mod nodes;
mod quotes;
mod sev;

use super::answer::{Answer, Answers};
use super::host::Host;
use crate::tdx::QuoteServiceAddress;

/// What to ask besides.
#[derive(Debug, Clone, Default)]
pub struct LiveOptions {
    /// The quote service. Without one, the usual places are tried on an Intel machine.
    pub quote_service: Option<QuoteServiceAddress>,
    /// Whether to look into firmware images, which takes some milliseconds for each.
    pub firmware: bool,
}

impl Host {
    /// This machine, asked now.
    pub fn this(options: &LiveOptions) -> Self {
        let cpuid = cpu::cpuid();
        let intel = cpu::is_intel(&cpuid);
        let quote_service = match &options.quote_service {
            Some(address) => Some(quotes::ask(address)),
            None if intel => Some(quotes::ask_usual_places()),
            None => None,
        };
        Host::live(Answers {
            format: Answers::FORMAT,
            origin: format!("asked by cloister {}", env!("CARGO_PKG_VERSION")),
            msrs: cpu::msrs(intel),
            cpuid,
            kernel_log: kernel_log::read(),
            nodes: nodes::look(),
            kvm: kvm::ask(),
            snp_platform_status: sev::platform_status(),
            quote_service,
            firmware: if options.firmware { nodes::images() } else { Default::default() },
            unreadable: Default::default(),
        })
    }
}

/// A number as it is written in answers.
fn hex(value: u64) -> String {
    format!("{value:#x}")
}

/// The answer of a libc call that returns -1 and sets errno, or a number.
fn answer(ret: libc::c_int) -> Answer<i32> {
    if ret < 0 { Answer::from(Err(std::io::Error::last_os_error())) } else { Answer::Value(ret) }
}
