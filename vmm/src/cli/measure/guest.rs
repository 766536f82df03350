//! `cloister measure` without a platform: the guest that `run` with the same flags launches.

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::Args;
use cloister_coco::launch::{PlatformKind, Request};
use cloister_firmware::linux::Blob;
use cloister_firmware::plan::Profile;
use serde_json::{Value, json};

use super::args::{ExplainArgs, KernelArgs};
use super::explain::Inputs;
use super::files::{Files, unreadable};
use super::{End, direct, explain, print, tdx, work};
use crate::cli::run::{Planned, plan_for};
use crate::config::{CocoPlatform, VmSpec};
use crate::refusal::Refusal;

/// Flags of `cloister measure` without a platform: those of `run`.
#[derive(Debug, Args)]
pub(super) struct GuestArgs {
    #[command(flatten)]
    spec: VmSpec,
    /// Read the guest's specification from a TOML or JSON file, with the flags' names as keys
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print inputs, stages and file hashes as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    explain: ExplainArgs,
}

pub(super) fn run(args: &GuestArgs) -> Result<End, Refusal> {
    let file = args.config.as_deref().map(VmSpec::read).transpose()?.unwrap_or_default();
    let spec = args.spec.clone().over(file);
    let kind = platform(&spec)?;
    if kind == PlatformKind::Tdx {
        return tdx::guest(&spec, &args.explain, args.json);
    }
    let planned = plan_for(&spec, kind)?;
    if let Some(wanted) = args.explain.wanted_snp()? {
        return match &spec.firmware {
            Some(firmware) => {
                let inputs = inputs(args, firmware, &planned);
                let files = Files::load(firmware, &handed(&spec), false)?;
                explain::snp(&inputs, files, &planned.measurement, wanted)
            }
            None => direct::explain(&spec, &planned, &wanted, args.json),
        };
    }
    match args.json {
        true => print::json(&report(&spec, &planned)?),
        false => print::line(planned.predicted()),
    }
    Ok(End::Measured)
}

/// The platform, which has to be named: the host that measures need not be the one that launches.
fn platform(spec: &VmSpec) -> Result<PlatformKind, Refusal> {
    let platform = spec.coco.as_ref().map_or(CocoPlatform::Auto, |coco| coco.platform);
    match Request::from(platform) {
        Request::Exactly(kind) if kind.has_evidence() => Ok(kind),
        Request::Exactly(_) => Err(Refusal::new(
            "a plain guest has no launch measurement",
            "there is nothing that measures it, and nothing that would prove it",
            "name the platform that it is launched on: --coco snp, tdx or sim",
        )),
        Request::Auto => Err(Refusal::new(
            "which platform is the guest measured for?",
            "the host that launches it may be another than this one, and each platform measures in its own way",
            "name it: --coco snp, tdx or sim",
        )),
    }
}

fn handed(spec: &VmSpec) -> KernelArgs {
    KernelArgs { kernel: spec.kernel.clone(), initrd: spec.initrd.clone(), cmdline: spec.cmdline.clone() }
}

fn inputs<'a>(args: &'a GuestArgs, firmware: &'a Path, planned: &Planned) -> Inputs<'a> {
    Inputs {
        firmware,
        other_firmware: &args.explain.other_firmware,
        profile: Profile::Cloister,
        vcpus: planned.plan.vcpus.len() as u32,
        signature: signature(planned),
        vmsa_features: planned.plan.identity.vmsa_features,
        one: true,
        json: args.json,
    }
}

/// Where every vCPU has its signature when it starts: RDX.
fn signature(planned: &Planned) -> u32 {
    planned.plan.vcpus.first().map_or(0, |cpu| cpu.rdx as u32)
}

fn report(spec: &VmSpec, planned: &Planned) -> Result<Value, Refusal> {
    let paths: Vec<_> = [&spec.firmware, &spec.kernel, &spec.initrd].into_iter().flatten().collect();
    let hashes = work::all(paths.len(), |n| File::open(paths[n]).and_then(Blob::read));
    let mut files = Vec::new();
    for (path, hash) in paths.iter().zip(hashes) {
        let blob = hash.map_err(|e| unreadable(path, &e))?;
        files.push((*path, print::file(path, blob.len, &blob.sha256)));
    }
    let file = |of: &Option<PathBuf>| files.iter().find(|(path, _)| of.as_ref() == Some(path)).map(|f| &f.1);
    Ok(json!({
        "platform": planned.kind.to_string(),
        "digest": planned.predicted().to_string(),
        "inputs": {
            "firmware": file(&spec.firmware),
            "kernel": file(&spec.kernel),
            "initrd": file(&spec.initrd),
            "cmdline": spec.cmdline,
            "memory": planned.plan.layout.ram_size(),
            "cpus": planned.plan.vcpus.len(),
            "cpu_signature": format!("{:#x}", signature(planned)),
            "guest_features": format!("{:#x}", planned.plan.identity.vmsa_features | 1),
        },
        "stages": print::stages(&planned.measurement.stages),
    }))
}
