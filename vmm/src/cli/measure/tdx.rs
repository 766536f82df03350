//! `cloister measure tdx`.

use std::path::{Path, PathBuf};

use clap::Args;
use cloister_firmware::explain::explain_mrtd;
use cloister_firmware::measure::rtmr::LoadOptions;
use cloister_firmware::measure::{Digest384, Measurement, Passes, measure_tdx};
use cloister_firmware::ovmf::Firmware;
use cloister_firmware::plan::{
    GuestLayout, Identity, MAX_MEMORY, MIN_MEMORY, MemoryRange, TdxBoot, plan_tdx,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::args::{ExplainArgs, KernelArgs};
use super::{End, files, print, refuse, rtmr};
use crate::config::Size;
use crate::refusal::Refusal;

/// Flags of `cloister measure tdx`.
#[derive(Debug, Args)]
pub(super) struct TdxArgs {
    /// Firmware image (TDVF: OVMF.inteltdx.fd)
    #[arg(long, alias = "ovmf", value_name = "FILE")]
    firmware: PathBuf,
    /// Measure in the order of older stacks: all pages of a section are added before any is measured
    #[arg(long)]
    two_pass: bool,
    /// Memory of the guest: with it, RTMR0 to RTMR3 are predicted as well
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
    /// Number of vCPUs, which the ACPI tables have and so RTMR0: those of a guest of ours without disks
    /// and serial console
    #[arg(long, value_name = "N", requires = "memory")]
    cpus: Option<u32>,
    #[command(flatten)]
    handed: KernelArgs,
    /// The firmware is older than edk2 2025, which tells the kernel of its initrd behind the command line
    #[arg(long, requires = "initrd")]
    initrd_last: bool,
    /// Print inputs, stages and file hashes as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    explain: ExplainArgs,
}

pub(super) fn run(args: &TdxArgs) -> Result<End, Refusal> {
    let claims = args.explain.claims_tdx()?;
    let firmware = files::firmware(&args.firmware)?;
    let passes = if args.two_pass { Passes::Two } else { Passes::Single };
    let mut layout = layout(args)?;
    layout.firmware = Some(MemoryRange::new(firmware.base(), firmware.bytes().len() as u64));
    let measured = measure(&args.firmware, &firmware, &layout, passes)?;
    let rtmrs = match args.memory.is_some() || args.handed.kernel.is_some() {
        true => {
            let options = if args.initrd_last { LoadOptions::InitrdLast } else { LoadOptions::InitrdFirst };
            Some(rtmr::predict(&args.firmware, &firmware, &layout, args.cpus, &args.handed, options)?)
        }
        false => None,
    };
    let claimed = claims.as_ref().map(|c| &c.rtmrs);
    let wanted = args.explain.explain.map(Digest384::from).or(claims.map(|c| c.mrtd));
    let report = json!({
        "platform": "tdx",
        "mrtd": measured.digest.to_string(),
        "inputs": {
            "firmware": print::file(
                &args.firmware,
                firmware.bytes().len() as u64,
                &Sha256::digest(firmware.bytes()).into(),
            ),
            "passes": if args.two_pass { 2 } else { 1 },
            "memory": args.memory.map(|m| m.0),
        },
        "stages": print::stages(&measured.stages),
        "rtmrs": rtmrs.as_ref().map(|r| rtmr::report(r, claimed)),
    });
    let explained = wanted.map(|wanted| explain(args, firmware, passes, wanted)).transpose()?;
    match (args.json, &explained) {
        (true, None) => print::json(&report),
        (true, Some(explained)) => {
            let mut report = report;
            report["explained"] = explained.json();
            print::json(&report);
        }
        (false, None) if rtmrs.is_none() => print::line(measured.digest),
        (false, None) => print::line(format_args!("MRTD  {}", measured.digest)),
        (false, Some(explained)) => explained.tell(measured.digest),
    }
    if let Some(rtmrs) = rtmrs.filter(|_| !args.json) {
        rtmr::tell(&rtmrs, claimed);
    }
    Ok(match explained {
        Some(Explained { differences: None, .. }) => End::Unexplained,
        _ => End::Measured,
    })
}

/// The guest's memory; MRTD does not depend on it.
fn layout(args: &TdxArgs) -> Result<GuestLayout, Refusal> {
    let Size(memory) = args.memory.unwrap_or(Size(2 << 30));
    if memory.is_multiple_of(4096) && (MIN_MEMORY..=MAX_MEMORY).contains(&memory) {
        return Ok(GuestLayout::new(memory));
    }
    Err(Refusal::new(
        format_args!("a guest cannot have {memory} bytes of memory"),
        format_args!(
            "it must be whole pages of 4 KiB, from {} MiB to {} TiB",
            MIN_MEMORY >> 20,
            MAX_MEMORY >> 40
        ),
        "give another size, such as --memory 2G",
    ))
}

fn measure(
    path: &Path,
    firmware: &Firmware,
    layout: &GuestLayout,
    passes: Passes,
) -> Result<Measurement, Refusal> {
    let boot = TdxBoot { firmware, layout: layout.clone(), vcpus: 1, identity: Identity::default() };
    let plan = plan_tdx(boot).map_err(|e| refuse(format_args!("cannot plan {}", path.display()), e))?;
    measure_tdx(&plan, passes).map_err(|e| refuse("cannot measure", e))
}

/// What was found out about an MRTD.
struct Explained {
    wanted: Digest384,
    /// How the inputs that give it differ; `None` if no inputs do.
    differences: Option<Vec<String>>,
}

fn explain(
    args: &TdxArgs,
    firmware: Firmware,
    passes: Passes,
    wanted: Digest384,
) -> Result<Explained, Refusal> {
    let mut paths = vec![&args.firmware];
    let mut images = vec![firmware];
    for path in &args.explain.other_firmware {
        paths.push(path);
        images.push(files::firmware(path)?);
    }
    let found = explain_mrtd(&images, wanted).map_err(|e| refuse("cannot measure", e))?;
    let differences = found.map(|(index, order)| {
        let firmware =
            (index != 0).then(|| format!("firmware {}, not {}", paths[index].display(), paths[0].display()));
        let order = (order != passes).then(|| match order {
            Passes::Single => "single-pass order (Linux 6.16, QEMU 10.1 and later)".to_owned(),
            Passes::Two => "two-pass order (--two-pass: older Intel and Ubuntu stacks)".to_owned(),
        });
        firmware.into_iter().chain(order).collect()
    });
    Ok(Explained { wanted, differences })
}

impl Explained {
    fn tell(&self, predicted: Digest384) {
        print::line(format_args!("predicted {predicted}"));
        print::line(format_args!("wanted    {}", self.wanted));
        match self.differences.as_deref() {
            None => print::line(
                "not explained: no firmware given here has that MRTD, in either order. Only the firmware \
                 is in MRTD: another file was launched",
            ),
            Some([]) => print::line("the same: this firmware has that MRTD"),
            Some(differences) => {
                print::line("explained: that MRTD comes from the inputs given, with");
                differences.iter().for_each(|d| print::line(format_args!("  - {d}")));
            }
        }
    }

    fn json(&self) -> Value {
        let found = self.differences.as_ref().map(|d| json!({ "differences": d }));
        json!({ "wanted": self.wanted.to_string(), "found": found })
    }
}
