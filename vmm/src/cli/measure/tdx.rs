//! `cloister measure tdx`.

use std::path::{Path, PathBuf};

use clap::Args;
use cloister_coco::launch::PlatformKind;
use cloister_firmware::explain::{TdxClaims, explain_mrtd};
use cloister_firmware::measure::rtmr::LoadOptions;
use cloister_firmware::measure::{Digest384, Passes, measure_tdx};
use cloister_firmware::ovmf::Firmware;
use cloister_firmware::plan::{
    GuestLayout, Identity, LaunchPlan, MAX_MEMORY, MIN_MEMORY, MemoryRange, TdxBoot, plan_tdx,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::args::{ExplainArgs, KernelArgs};
use super::rtmr::Board;
use super::{End, files, print, refuse, rtmr};
use crate::cli::run::plan_for;
use crate::config::{CocoPlatform, ConsoleSpec, Size, VmSpec};
use crate::refusal::Refusal;

/// Flags of `cloister measure tdx`.
#[derive(Debug, Args)]
pub(super) struct TdxArgs {
    /// Firmware image (TDVF: OVMF.inteltdx.fd)
    #[arg(long, alias = "ovmf", value_name = "FILE", required_unless_present = "config")]
    firmware: Option<PathBuf>,
    /// Measure in the order of older stacks: all pages of a section are added before any is measured
    #[arg(long)]
    two_pass: bool,
    /// The guest as `cloister run` takes it, TOML or JSON: with it, RTMR0 to RTMR3 are predicted as well.
    /// What the flags say wins
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Memory of the guest: with it, RTMR0 to RTMR3 are predicted as well
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
    /// Number of vCPUs, which the ACPI tables have and so RTMR0: without --config those of a guest of ours
    /// without disks and serial console
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,
    #[command(flatten)]
    handed: KernelArgs,
    /// The firmware tells the kernel of its initrd behind the command line, as edk2 did before 2025. Without
    /// this flag, what its code says is taken
    #[arg(long)]
    initrd_last: bool,
    /// Print inputs, stages and file hashes as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    explain: ExplainArgs,
}

/// A TD to be measured.
struct Td<'a> {
    firmware: PathBuf,
    plan: LaunchPlan,
    passes: Passes,
    /// Bytes of memory, if they were said.
    memory: Option<u64>,
    board: Option<Board>,
    handed: KernelArgs,
    options: Option<LoadOptions>,
    /// Whether the RTMRs are told to people too, or just put into JSON.
    tell_rtmrs: bool,
    json: bool,
    explain: &'a ExplainArgs,
}

pub(super) fn run(args: &TdxArgs) -> Result<End, Refusal> {
    let claims = args.explain.claims_tdx()?;
    let passes = if args.two_pass { Passes::Two } else { Passes::Single };
    let options = args.initrd_last.then_some(LoadOptions::InitrdLast);
    let mut td = match (&args.config, &args.firmware) {
        (Some(config), _) => {
            let spec = args.spec().over(VmSpec::read(config)?);
            Td::new(&spec, &args.explain)?
        }
        (None, Some(firmware)) => args.alone(firmware)?,
        (None, None) => return Err(no_firmware()),
    };
    (td.passes, td.options, td.json) = (passes, options, args.json);
    measure(td, claims)
}

/// The same for a guest as `run` takes it.
pub(super) fn guest(spec: &VmSpec, explain: &ExplainArgs, json: bool) -> Result<End, Refusal> {
    let claims = explain.claims_tdx()?;
    measure(Td { json, tell_rtmrs: false, ..Td::new(spec, explain)? }, claims)
}

fn no_firmware() -> Refusal {
    Refusal::new(
        "a TD without firmware",
        "a TD starts in its firmware, and only that is in MRTD",
        "give it: --firmware OVMF.inteltdx.fd",
    )
}

impl TdxArgs {
    /// What the flags say of the guest.
    fn spec(&self) -> VmSpec {
        VmSpec {
            firmware: self.firmware.clone(),
            memory: self.memory,
            cpus: self.cpus,
            kernel: self.handed.kernel.clone(),
            initrd: self.handed.initrd.clone(),
            cmdline: self.handed.cmdline.clone(),
            ..VmSpec::default()
        }
    }

    /// A TD of which no more is known than the flags say.
    fn alone(&self, path: &Path) -> Result<Td<'_>, Refusal> {
        if self.cpus.is_some() && self.memory.is_none() {
            return Err(Refusal::new(
                "--cpus without --memory",
                "only RTMR0 depends on the number of vCPUs, and it depends on the memory as well",
                "add --memory 2G, or a whole guest: --config vm.json",
            ));
        }
        let firmware = files::firmware(path)?;
        let mut layout = layout(self.memory)?;
        layout.firmware = Some(MemoryRange::new(firmware.base(), firmware.bytes().len() as u64));
        let boot = TdxBoot { firmware: &firmware, layout, vcpus: 1, identity: Identity::default() };
        let plan = plan_tdx(boot).map_err(|e| refuse(format_args!("cannot plan {}", path.display()), e))?;
        let rtmrs = self.memory.is_some() || self.handed.kernel.is_some();
        Ok(Td {
            firmware: path.to_owned(),
            plan,
            passes: Passes::Single,
            memory: self.memory.map(|m| m.0),
            board: self.cpus.map(|cpus| Board { cpus, serial: false, disks: false }),
            handed: self.handed.clone(),
            options: None,
            tell_rtmrs: rtmrs,
            json: false,
            explain: &self.explain,
        })
    }
}

impl<'a> Td<'a> {
    /// The TD that `run` would launch.
    fn new(spec: &VmSpec, explain: &'a ExplainArgs) -> Result<Self, Refusal> {
        let platform = spec.coco.as_ref().map_or(CocoPlatform::Auto, |coco| coco.platform);
        if !matches!(platform, CocoPlatform::Auto | CocoPlatform::Tdx) {
            return Err(Refusal::new(
                format_args!("the guest is for `{platform}`, not a TD"),
                "its configuration says so (`coco`)",
                "measure it as what it is: `cloister measure --config FILE`",
            ));
        }
        let mut coco = spec.coco.clone().unwrap_or_default();
        coco.platform = CocoPlatform::Tdx;
        let spec = VmSpec { coco: Some(coco), ..spec.clone() };
        let Some(firmware) = spec.firmware.clone() else { return Err(no_firmware()) };
        let planned = plan_for(&spec, PlatformKind::Tdx)?;
        let board = Board {
            cpus: planned.plan.vcpus.len() as u32,
            serial: spec.console.as_ref().is_some_and(|c| *c != ConsoleSpec::Off),
            disks: spec.disk.as_ref().is_some_and(|disks| !disks.is_empty()),
        };
        Ok(Td {
            firmware,
            memory: Some(planned.plan.layout.ram_size()),
            plan: planned.plan,
            passes: Passes::Single,
            board: Some(board),
            handed: KernelArgs { kernel: spec.kernel, initrd: spec.initrd, cmdline: spec.cmdline },
            options: None,
            tell_rtmrs: true,
            json: false,
            explain,
        })
    }
}

fn measure(td: Td<'_>, claims: Option<TdxClaims>) -> Result<End, Refusal> {
    let firmware = files::firmware(&td.firmware)?;
    let measured = measure_tdx(&td.plan, td.passes).map_err(|e| refuse("cannot measure", e))?;
    let rtmrs = match td.tell_rtmrs || (td.json && td.board.is_some()) {
        true => {
            let Td { board, handed, options, .. } = &td;
            let layout = td.memory.is_some().then_some(&td.plan.layout);
            Some(rtmr::predict(&td.firmware, &firmware, layout, *board, handed, *options)?)
        }
        false => None,
    };
    let claimed = claims.as_ref().map(|c| &c.rtmrs);
    let wanted = td.explain.explain.map(Digest384::from).or(claims.map(|c| c.mrtd));
    let report = json!({
        "platform": "tdx",
        "mrtd": measured.digest.to_string(),
        "inputs": {
            "firmware": print::file(
                &td.firmware,
                firmware.bytes().len() as u64,
                &Sha256::digest(firmware.bytes()).into(),
            ),
            "passes": match td.passes {
                Passes::Single => 1,
                Passes::Two => 2,
            },
            "memory": td.memory,
            "cpus": td.board.map(|b| b.cpus),
        },
        "stages": print::stages(&measured.stages),
        "rtmrs": rtmrs.as_ref().map(|r| rtmr::report(r, claimed)),
    });
    let explained = wanted.map(|wanted| explain(&td, firmware, wanted)).transpose()?;
    match (td.json, &explained) {
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
    if let Some(rtmrs) = rtmrs.filter(|_| !td.json) {
        rtmr::tell(&rtmrs, claimed);
    }
    Ok(match explained {
        Some(Explained { differences: None, .. }) => End::Unexplained,
        _ => End::Measured,
    })
}

/// The guest's memory; MRTD does not depend on it.
fn layout(memory: Option<Size>) -> Result<GuestLayout, Refusal> {
    let Size(memory) = memory.unwrap_or(Size(2 << 30));
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

/// What was found out about an MRTD.
struct Explained {
    wanted: Digest384,
    /// How the inputs that give it differ; `None` if no inputs do.
    differences: Option<Vec<String>>,
}

fn explain(td: &Td<'_>, firmware: Firmware, wanted: Digest384) -> Result<Explained, Refusal> {
    let mut paths = vec![&td.firmware];
    let mut images = vec![firmware];
    for path in &td.explain.other_firmware {
        paths.push(path);
        images.push(files::firmware(path)?);
    }
    let found = explain_mrtd(&images, wanted).map_err(|e| refuse("cannot measure", e))?;
    let differences = found.map(|(index, order)| {
        let firmware =
            (index != 0).then(|| format!("firmware {}, not {}", paths[index].display(), paths[0].display()));
        let order = (order != td.passes).then(|| match order {
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
