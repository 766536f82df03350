//! Flags that several platforms share, and values with a form of their own.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use clap::ValueEnum;
use cloister_firmware::measure::Digest384;
use cloister_firmware::plan::{CPU_MODELS, Profile, cpu_signature};

/// What the firmware is handed.
#[derive(Debug, Clone, Args)]
pub(super) struct KernelArgs {
    /// Kernel that the firmware is handed (measured direct boot)
    #[arg(long, value_name = "FILE")]
    pub(super) kernel: Option<PathBuf>,
    /// Initial RAM disk, with --kernel
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub(super) initrd: Option<PathBuf>,
    /// Kernel command line, with --kernel
    #[arg(long, alias = "append", value_name = "TEXT", requires = "kernel")]
    pub(super) cmdline: Option<String>,
}

/// What is compared with the prediction.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Search for the inputs that give this digest
    #[arg(long, value_name = "DIGEST", conflicts_with = "diff")]
    pub(super) explain: Option<Hex<48>>,
    /// Compare with what a report or quote says, and explain the difference
    #[arg(long, value_name = "FILE")]
    pub(super) diff: Option<PathBuf>,
    /// Another firmware file that may have been launched (for --explain and --diff)
    #[arg(long, value_name = "FILE")]
    pub(super) other_firmware: Vec<PathBuf>,
}

/// What kind of CPU the vCPUs are.
#[derive(Debug, Args)]
pub(super) struct CpuArgs {
    /// CPU model: EPYC-Milan, EPYC-Genoa, … as QEMU names them
    #[arg(long, value_name = "MODEL", value_parser = model)]
    pub(super) cpu_model: Option<u32>,
    /// CPU signature (CPUID leaf 1, EAX), instead of a model: 0xa00f11
    #[arg(long, value_name = "NUMBER", value_parser = number_u32, conflicts_with = "cpu_model")]
    pub(super) cpu_sig: Option<u32>,
}

impl CpuArgs {
    pub(super) fn signature(&self) -> Option<u32> {
        self.cpu_model.or(self.cpu_sig)
    }
}

/// Who launches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Launcher {
    /// QEMU on KVM
    Qemu,
    /// Amazon EC2
    Ec2,
    /// Google Compute Engine
    Gce,
    /// Cloister: QEMU's measurement for the same inputs, within Cloister's limits
    Cloister,
}

impl From<Launcher> for Profile {
    fn from(launcher: Launcher) -> Self {
        match launcher {
            Launcher::Qemu => Profile::Qemu,
            Launcher::Ec2 => Profile::Ec2,
            Launcher::Gce => Profile::Gce,
            Launcher::Cloister => Profile::Cloister,
        }
    }
}

/// Numbers of vCPUs: `4`, or `1-64` for all from 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) range: bool,
}

impl FromStr for Counts {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let number = |s: &str| s.parse().map_err(|_| format!("`{s}` is not a number; write 4, or 1-64"));
        let (first, last, range) = match s.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?, true),
            None => (number(s)?, number(s)?, false),
        };
        match 0 < first && first <= last {
            true => Ok(Counts { first, last, range }),
            false => Err(format!("`{s}` is no number of vCPUs; write 4, or 1-64")),
        }
    }
}

/// `N` bytes in hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hex<const N: usize>(pub(super) [u8; N]);

impl<const N: usize> FromStr for Hex<N> {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let bytes = hex::decode(s.trim()).map_err(|e| format!("{e}; {N} bytes in hex are wanted"))?;
        let len = bytes.len();
        bytes.try_into().map(Hex).map_err(|_| format!("{len} bytes, and {N} in hex are wanted"))
    }
}

impl From<Hex<48>> for Digest384 {
    fn from(hex: Hex<48>) -> Self {
        Digest384(hex.0)
    }
}

/// A number, decimal or with 0x.
pub(super) fn number(s: &str) -> Result<u64, String> {
    match s.strip_prefix("0x").or_else(|| s.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => s.parse(),
    }
    .map_err(|e| format!("{e}; write it like 0x30000"))
}

/// The same of 32 bits.
pub(super) fn number_u32(s: &str) -> Result<u32, String> {
    u32::try_from(number(s)?).map_err(|_| "it has more than 32 bits".to_owned())
}

fn model(name: &str) -> Result<u32, String> {
    cpu_signature(name).ok_or_else(|| {
        let names: Vec<_> = CPU_MODELS.iter().map(|(name, _)| *name).collect();
        format!("the models are {}; give any other by --cpu-sig", names.join(", "))
    })
}
