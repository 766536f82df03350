//! `cloister measure snp`.

use std::path::{Path, PathBuf};

use clap::Args;
use cloister_firmware::measure::{Measurement, PlanHashes, measure_snp_hashed};
use cloister_firmware::ovmf::Firmware;
use cloister_firmware::plan::{FirmwareBoot, GuestLayout, Identity, Profile, Svsm, plan_firmware};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::args::{Counts, CpuArgs, ExplainArgs, KernelArgs, Launcher, number};
use super::files::{self, Files};
use super::{End, explain, id, print, refuse};
use crate::refusal::Refusal;

/// Flags of `cloister measure snp`.
#[derive(Debug, Args)]
pub(super) struct SnpArgs {
    /// Firmware image (OVMF.fd)
    #[arg(long, alias = "ovmf", value_name = "FILE")]
    firmware: Option<PathBuf>,
    #[command(flatten)]
    handed: KernelArgs,
    /// Number of vCPUs, or a range such as 1-64 for a digest each
    #[arg(long, alias = "vcpus", value_name = "N|A-B")]
    cpus: Counts,
    #[command(flatten)]
    cpu: CpuArgs,
    /// SEV features of the VMSA: bit 0 SNP (always set), bit 5 debug swap, bit 9 Secure TSC. Always 0x1 with
    /// --svsm
    #[arg(long, value_name = "NUMBER", default_value = "0x1", value_parser = number)]
    guest_features: u64,
    /// Who launches the guest
    #[arg(long, value_enum, ignore_case = true, default_value_t = Launcher::Qemu)]
    profile: Launcher,
    /// coconut-svsm binary that is launched below the firmware, and starts instead of it, by QEMU
    #[arg(long, value_name = "FILE", requires = "vars_size", conflicts_with_all = ["kernel", "explain", "diff"])]
    svsm: Option<PathBuf>,
    /// Bytes of the variable store between SVSM and firmware
    #[arg(long, value_name = "BYTES", requires = "svsm", value_parser = number)]
    vars_size: Option<u64>,
    /// Print inputs, stages and file hashes as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    explain: ExplainArgs,
    #[command(flatten)]
    id: id::IdArgs,
}

/// The firmware, without which nobody launches an SNP guest.
fn firmware(args: &SnpArgs) -> Result<&Path, Refusal> {
    args.firmware.as_deref().ok_or_else(|| {
        Refusal::new(
            "an SNP guest without firmware",
            "an ordinary kernel does not validate its memory, so that it is launched through firmware; \
             without, the simulator alone launches it",
            "give --firmware OVMF.amdsev.fd, or measure the simulated guest: `cloister measure --coco sim`",
        )
    })
}

pub(super) fn run(args: &SnpArgs) -> Result<End, Refusal> {
    let path = firmware(args)?;
    let profile = Profile::from(args.profile);
    let signature = signature(args, profile)?;
    if args.guest_features & 1 == 0 {
        return Err(Refusal::new(
            format_args!("guest features {:#x} are none that SNP can have", args.guest_features),
            "bit 0 says that SNP is active, and KVM sets it for every SNP guest",
            format_args!("give --guest-features {:#x}", args.guest_features | 1),
        ));
    }
    if args.svsm.is_some() && matches!(profile, Profile::Ec2 | Profile::Gce) {
        return Err(Refusal::new(
            format_args!("an SVSM launched by {}", profile.name()),
            "only how QEMU launches one is known",
            "leave --profile away, or --svsm",
        ));
    }
    let id = args.id.prepare(args.cpus)?;
    let files = Files::load(path, &args.handed, args.json)?;
    let svsm = args.svsm.as_deref().map(files::firmware).transpose()?;
    let measured = measure(args, path, &files, svsm.as_ref(), profile, signature)?;
    if args.guest_features != features(args) {
        eprintln!(
            "cloister measure snp: guest features {:#x} are not in this digest\n  why: with an SVSM it is the one \
             that sev-snp-measure predicts and publishes, always with {:#x}\n  do:  leave --guest-features away",
            args.guest_features,
            features(args)
        );
    }

    if let Some(wanted) = args.explain.wanted_snp()? {
        let inputs = explain::Inputs {
            firmware: path,
            other_firmware: &args.explain.other_firmware,
            profile,
            vcpus: args.cpus.last,
            signature,
            vmsa_features: args.guest_features & !1,
            one: !args.cpus.range,
            json: args.json,
        };
        return explain::snp(&inputs, files, &measured, wanted);
    }
    let signed = id.map(|id| id.sign_and_write(measured.digest)).transpose()?;
    if args.json {
        let mut report = report(args, path, &files, svsm.as_ref(), &measured, signature);
        report["id_block"] = signed.as_ref().map_or(Value::Null, id::Written::json);
        print::json(&report);
        return Ok(End::Measured);
    }
    match args.cpus.range {
        false => print::line(measured.digest),
        true => digests(args.cpus, &measured).for_each(|(n, d)| print::line(format_args!("{n} {d}"))),
    }
    if let Some(signed) = signed {
        signed.tell();
    }
    Ok(End::Measured)
}

/// The SEV features that are measured. With an SVSM they are those of sev-snp-measure, whose published digests
/// say 0x21 of launches with 0x1.
fn features(args: &SnpArgs) -> u64 {
    if args.svsm.is_some() { 1 } else { args.guest_features }
}

/// The signature in RDX. Launchers that leave KVM's there need none.
fn signature(args: &SnpArgs, profile: Profile) -> Result<u32, Refusal> {
    match args.cpu.signature() {
        Some(signature) => Ok(signature),
        None if !profile.measures_model() => Ok(0),
        None => Err(Refusal::new(
            "neither --cpu-model nor --cpu-sig is given",
            "every vCPU starts with the signature of its CPU in RDX, and so it is measured",
            "give the model that the guest is launched with, such as --cpu-model EPYC-Milan; for a \
             `host` model, --cpu-sig with the host's CPUID leaf 1, EAX",
        )),
    }
}

fn measure(
    args: &SnpArgs,
    path: &Path,
    files: &Files,
    svsm: Option<&Firmware>,
    profile: Profile,
    signature: u32,
) -> Result<Measurement, Refusal> {
    let plan = plan_firmware(FirmwareBoot {
        firmware: &files.firmware,
        svsm: svsm.map(|image| Svsm { image, vars_size: args.vars_size.unwrap_or(0) }),
        hashes: files.kernel.as_ref().map(|k| k.hashes()),
        profile,
        memory: GuestLayout::LOW_RAM_END,
        vcpus: args.cpus.last,
        signature,
        identity: Identity { vmsa_features: features(args) & !1, ..Identity::default() },
    });
    let plan = plan.map_err(|e| refuse(format_args!("cannot plan {}", path.display()), e))?;
    let mut ahead = PlanHashes::default();
    ahead.push(0, files.pages.clone());
    measure_snp_hashed(&plan, &ahead).map_err(|e| refuse("cannot measure", e))
}

/// The digest for every number of vCPUs: they come last, so each is a stage of the longest launch.
fn digests(cpus: Counts, measured: &Measurement) -> impl Iterator<Item = (u32, String)> {
    let before = measured.stages.len().saturating_sub(cpus.last as usize);
    let stages = measured.stages.iter().skip(before).zip(1..);
    stages.filter(move |(_, n)| *n >= cpus.first).map(|(s, n)| (n, s.digest_after.to_string()))
}

fn report(
    args: &SnpArgs,
    path: &Path,
    files: &Files,
    svsm: Option<&Firmware>,
    measured: &Measurement,
    signature: u32,
) -> Value {
    let bytes = files.firmware.bytes().len() as u64;
    let handed = files.kernel.as_ref().zip(args.handed.kernel.as_deref());
    let profile = Profile::from(args.profile);
    let digests: Vec<_> = digests(args.cpus, measured)
        .map(|(cpus, digest)| json!({ "cpus": cpus, "digest": digest }))
        .collect();
    json!({
        "platform": "snp",
        "digest": measured.digest.to_string(),
        "digests": args.cpus.range.then_some(digests),
        "inputs": {
            "profile": profile.name(),
            "firmware": print::file(path, bytes, &files.sha256.unwrap_or_default()),
            "direct_boot": handed.map(|(k, path)| print::kernel(k, path, args.handed.initrd.as_deref())),
            "cpus": args.cpus.last,
            "cpu_signature": profile.measures_model().then(|| format!("{signature:#x}")),
            "guest_features": format!("{:#x}", features(args)),
            "svsm": args.svsm.as_deref().zip(svsm).map(|(path, svsm)| {
                print::file(path, svsm.bytes().len() as u64, &Sha256::digest(svsm.bytes()).into())
            }),
            "vars_size": args.vars_size,
        },
        "stages": print::stages(&measured.stages),
    })
}
