//! `cloister measure sev`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::TypedValueParser;
use cloister_firmware::measure::{SevMode, measure_sev};
use cloister_firmware::plan::MAX_PREDICTED_VCPUS;

use super::args::{CpuArgs, KernelArgs};
use super::files::Files;
use super::{End, print, refuse};
use crate::refusal::Refusal;

/// Flags of `cloister measure sev`.
#[derive(Debug, Args)]
pub(super) struct SevArgs {
    /// Firmware image (OVMF.fd)
    #[arg(long, alias = "ovmf", value_name = "FILE")]
    firmware: PathBuf,
    #[command(flatten)]
    handed: KernelArgs,
    /// SEV-ES: the vCPUs' states are measured
    #[arg(long, requires = "cpus")]
    es: bool,
    /// Number of vCPUs, for --es
    #[arg(long, alias = "vcpus", value_name = "N", requires = "es", value_parser = vcpus())]
    cpus: Option<u32>,
    #[command(flatten)]
    cpu: CpuArgs,
}

/// As many as a prediction for SNP takes.
fn vcpus() -> impl TypedValueParser<Value = u32> {
    clap::value_parser!(u32).range(1..=i64::from(MAX_PREDICTED_VCPUS))
}

pub(super) fn run(args: &SevArgs) -> Result<End, Refusal> {
    let mode = match (args.es, args.cpu.signature()) {
        (false, _) => SevMode::Sev,
        (true, Some(signature)) => SevMode::SevEs { vcpus: args.cpus.unwrap_or(1), signature },
        (true, None) => {
            return Err(Refusal::new(
                "neither --cpu-model nor --cpu-sig is given",
                "every vCPU starts with the signature of its CPU in RDX, and so it is measured",
                "give the model that the guest is launched with, such as --cpu-model EPYC-Rome",
            ));
        }
    };
    let files = Files::load(&args.firmware, &args.handed, false)?;
    let hashes = files.kernel.as_ref().map(|k| k.hashes());
    let digest = measure_sev(&files.firmware, hashes.as_ref(), mode)
        .map_err(|e| refuse(format_args!("cannot use the firmware {}", args.firmware.display()), e))?;
    print::line(hex::encode(digest));
    Ok(End::Measured)
}
