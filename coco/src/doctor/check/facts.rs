//! What several checks want to know of a host.

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

use std::collections::HashSet;

use crate::doctor::answer::Answer;
use crate::doctor::host::Host;

/// Who made the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::doctor) enum Vendor {
    Amd,
    Intel,
    Other,
    /// /proc/cpuinfo does not say.
    Unknown,
}

/// The host, and what is known of it at once.
pub(in crate::doctor) struct Facts<'a> {
    pub(in crate::doctor) host: &'a Host,
    pub(in crate::doctor) vendor: Vendor,
    /// "AMD EPYC 9654 96-Core Processor"
    pub(in crate::doctor) model: String,
    /// CPU family, as /proc/cpuinfo has it: 25 is Milan and Genoa, 26 is Turin.
    pub(in crate::doctor) family: u32,
    flags: HashSet<String>,
    log: Answer<&'a Vec<String>>,
}

impl<'a> Facts<'a> {
    pub(in crate::doctor) fn of(host: &'a Host) -> Self {
        let cpuinfo = host.text("/proc/cpuinfo");
        let text = cpuinfo.value().map_or("", String::as_str);
        let field = |name: &str| {
            let mut fields = text.lines().filter_map(|line| line.split_once(':'));
            fields.find(|(key, _)| key.trim() == name).map_or("", |(_, value)| value.trim())
        };
        Facts {
            host,
            vendor: match field("vendor_id") {
                "AuthenticAMD" => Vendor::Amd,
                "GenuineIntel" => Vendor::Intel,
                "" => Vendor::Unknown,
                _ => Vendor::Other,
            },
            model: field("model name").to_owned(),
            family: field("cpu family").parse().unwrap_or(0),
            flags: field("flags").split_whitespace().map(str::to_owned).collect(),
            log: host.answers.kernel_log.as_ref(),
        }
    }

    /// Whether the kernel lists this flag of the processor.
    pub(in crate::doctor) fn flag(&self, name: &str) -> bool {
        self.flags.contains(name)
    }

    /// Whether the machine is itself a virtual one.
    pub(in crate::doctor) fn is_virtual(&self) -> bool {
        self.flag("hypervisor")
    }

    /// Whether the processor has what TDX builds upon.
    pub(super) fn may_have_tdx(&self) -> bool {
        self.vendor == Vendor::Intel && (self.flag("tme") || self.flag("tdx_host_platform"))
    }

    /// The last line of the kernel's log with this text.
    pub(super) fn log(&self, text: &str) -> Option<&'a str> {
        let lines: &Vec<String> = match &self.log {
            Answer::Value(lines) => lines,
            _ => return None,
        };
        lines.iter().rev().find(|line| line.contains(text)).map(String::as_str)
    }

    /// Why the kernel's log says nothing about something.
    pub(super) fn log_silence(&self) -> String {
        match &self.log {
            Answer::Value(_) => "the kernel's log says nothing about it (any more)".to_owned(),
            other => format!("the kernel's log cannot be read: {}", other.why_not()),
        }
    }

    /// What lets the kernel's log be read.
    pub(super) const READ_LOG: &'static str =
        "run `cloister doctor` as root, soon after boot (or see `journalctl -kb`)";

    /// A bit of a leaf of CPUID.
    pub(super) fn cpuid(&self, leaf: &str) -> Option<[u32; 4]> {
        self.host.answers.leaf(leaf)
    }

    /// A model-specific register, and how to get to it where it cannot be read.
    pub(super) fn msr(&self, number: u32) -> Result<u64, String> {
        match self.host.answers.msr(number) {
            Answer::Value(value) => Ok(value),
            Answer::Errno(libc::EIO) => Err("this processor has no such register".to_owned()),
            other => Err(other.why_not()),
        }
    }

    /// What lets registers be read.
    pub(super) const READ_MSR: &'static str = "modprobe msr, then run `cloister doctor` as root";
}
