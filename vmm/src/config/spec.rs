//! A guest's specification, as flags and as a TOML or JSON file with the same names.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::ValueEnum;
use cloister_coco::tdx::QuoteServiceAddress;
use serde::Deserialize;
use serde::de::Error as _;

use super::coco_keys;
use super::{CocoSpec, ConsoleSpec, CpuModel, CpuSig, DiskSpec, FileSpec, Size, VsockSpec};
use crate::refusal::Refusal;

/// In which form the counters are printed when the guest has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StatsSpec {
    /// A table for people
    Text,
    /// JSON
    Json,
}

/// A guest. What a flag says wins over what the file says.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct VmSpec {
    /// Firmware image (OVMF): boots the kernel if one is given, else from a disk
    #[arg(long, value_name = "FILE")]
    pub(crate) firmware: Option<PathBuf>,
    /// Linux kernel: a bzImage (booted by the 64-bit boot protocol) or an uncompressed ELF (by PVH)
    #[arg(long, value_name = "FILE")]
    pub(crate) kernel: Option<PathBuf>,
    /// Initial RAM disk
    #[arg(long, value_name = "FILE")]
    pub(crate) initrd: Option<PathBuf>,
    /// Kernel command line
    #[arg(long, value_name = "TEXT")]
    pub(crate) cmdline: Option<String>,
    /// Memory: 512M, 2G [default: 512M]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<Size>,
    /// Number of vCPUs [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) cpus: Option<u32>,
    /// vsock device: cid=N,path=SOCKET. The host connects to SOCKET and writes "CONNECT port"; what
    /// listens at SOCKET_P gets the guest's connections to port P of the host
    #[arg(long, value_name = "cid=N,path=SOCKET")]
    pub(crate) vsock: Option<VsockSpec>,
    /// Disk, a raw image; once for each. Firmware boots from the first that it can
    #[arg(long, value_name = "path=FILE,readonly=on")]
    pub(crate) disk: Option<Vec<DiskSpec>>,
    /// Serial console: stdio, off or file=PATH [default: stdio for a plain guest, off for others,
    /// whose output the host should not see]
    #[arg(long, value_name = "WHERE")]
    pub(crate) console: Option<ConsoleSpec>,
    /// Where the firmware's log goes
    #[arg(long, value_name = "file=PATH")]
    pub(crate) debug_console: Option<FileSpec>,
    /// What to launch the guest on [default: auto], and keys of that platform (in a file: a table with
    /// `platform` and the keys)
    #[arg(long, value_name = "PLATFORM[,KEY=VALUE...]", long_help = coco_keys::help())]
    pub(crate) coco: Option<CocoSpec>,
    /// CPU model that SNP vCPUs are launched as: EPYC-Milan, EPYC-Genoa, … as QEMU names them. It is part
    /// of the measurement [default: this host's]
    #[arg(long, value_name = "MODEL", conflicts_with = "cpu_sig")]
    pub(crate) cpu_model: Option<CpuModel>,
    /// The same by its signature (CPUID leaf 1, EAX): 0xa00f11
    #[arg(long, value_name = "NUMBER")]
    pub(crate) cpu_sig: Option<CpuSig>,
    /// Where TDs get their quotes: the quote generation service
    #[arg(long, value_name = "unix:PATH|vsock:CID:PORT")]
    #[serde(deserialize_with = "quote_service")]
    pub(crate) quote_service: Option<QuoteServiceAddress>,
    /// Certificates that SNP guests get with their reports: a directory, or a file with the table
    #[arg(long, value_name = "DIR|FILE")]
    pub(crate) certs: Option<PathBuf>,
    /// Refuse to run the guest on anything but confidential hardware
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub(crate) require_coco: Option<bool>,
    /// Attest the guest against this policy over vsock and release its secrets
    #[arg(long, value_name = "POLICY")]
    pub(crate) attest: Option<PathBuf>,
    /// Give the guest all its memory before it starts, instead of page by page as it asks
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub(crate) prefault: Option<bool>,
    /// Print what was converted, and how long it took, when the guest has ended
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "text", value_name = "FORM")]
    pub(crate) stats: Option<StatsSpec>,
    /// End when the guest resets, instead of building it anew
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub(crate) no_reboot: Option<bool>,
}

impl VmSpec {
    /// Reads a file with the same names as the flags: JSON if its name ends in `.json`, else TOML. Unknown
    /// keys are errors.
    pub(crate) fn read(path: &Path) -> Result<Self, Refusal> {
        let what = || format!("cannot use the configuration {}", path.display());
        let text = std::fs::read_to_string(path)
            .map_err(|e| Refusal::new(what(), e, "give the path of a readable TOML or JSON file"))?;
        let json = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("json"));
        let spec = if json { from_json(&text) } else { from_toml(&text) };
        spec.map_err(|(line, why)| {
            let why = format!("line {line}: {}", why.replace('\n', " "));
            Refusal::new(what(), why, "mend the line; `cloister run --help` lists the keys")
        })
    }

    /// This specification, and where it is silent, `under`.
    pub(crate) fn over(self, under: VmSpec) -> VmSpec {
        VmSpec {
            firmware: self.firmware.or(under.firmware),
            kernel: self.kernel.or(under.kernel),
            initrd: self.initrd.or(under.initrd),
            cmdline: self.cmdline.or(under.cmdline),
            memory: self.memory.or(under.memory),
            cpus: self.cpus.or(under.cpus),
            vsock: self.vsock.or(under.vsock),
            disk: self.disk.or(under.disk),
            console: self.console.or(under.console),
            debug_console: self.debug_console.or(under.debug_console),
            coco: self.coco.or(under.coco),
            // Two ways to say one thing.
            cpu_model: self.cpu_model.or(under.cpu_model.filter(|_| self.cpu_sig.is_none())),
            cpu_sig: self.cpu_sig.or(under.cpu_sig.filter(|_| self.cpu_model.is_none())),
            quote_service: self.quote_service.or(under.quote_service),
            certs: self.certs.or(under.certs),
            require_coco: self.require_coco.or(under.require_coco),
            attest: self.attest.or(under.attest),
            prefault: self.prefault.or(under.prefault),
            stats: self.stats.or(under.stats),
            no_reboot: self.no_reboot.or(under.no_reboot),
        }
    }
}

fn quote_service<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<QuoteServiceAddress>, D::Error> {
    String::deserialize(d)?.parse().map(Some).map_err(D::Error::custom)
}

/// The line of a mistake, and the mistake.
type Mistake = (usize, String);

fn from_toml(text: &str) -> Result<VmSpec, Mistake> {
    toml::from_str(text).map_err(|e| {
        let before = e.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        (before.matches('\n').count() + 1, e.message().to_owned())
    })
}

fn from_json(text: &str) -> Result<VmSpec, Mistake> {
    serde_json::from_str(text).map_err(|e| {
        // Its message ends with the place, which is told before.
        let message = e.to_string();
        let why = message.rsplit_once(" at line ").map_or(message.as_str(), |(why, _)| why);
        (e.line(), why.to_owned())
    })
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
