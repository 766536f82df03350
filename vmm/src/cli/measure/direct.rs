//! Why a guest that boots its kernel without firmware measured to something else.
//!
//! Its command line, memory map and tables are measured as they are, early in the launch: every guest that is
//! tried is planned anew. Kernel and initrd are hashed once.

use cloister_coco::launch::PlatformKind;
use cloister_firmware::measure::{
    Digest384, Measurement, PageHash, PlanHashes, SnpDigest, hash_pages, measure_snp_hashed, vmsa_page,
};
use cloister_firmware::plan::{LaunchPlan, MAX_VCPUS, PageKind};
use serde_json::json;

use super::explain::WantedSnp;
use super::{End, print, refuse, work};
use crate::cli::run::{Planned, plan_unmeasured};
use crate::config::{ConsoleSpec, Size, VmSpec};
use crate::refusal::Refusal;

/// Runs of fewer pages are hashed anew for each guest.
const LARGE: u64 = 64;
/// SEV features that are tried: none, debug swap, Secure TSC, both.
const FEATURES: [u64; 4] = [0, 1 << 5, 1 << 9, 1 << 5 | 1 << 9];

/// A guest to try, and how it differs from the one that was given.
struct Variant {
    spec: VmSpec,
    differences: Vec<String>,
}

/// Says which guest near `spec` measures to what is wanted.
pub(super) fn explain(
    spec: &VmSpec,
    planned: &Planned,
    wanted: &WantedSnp,
    as_json: bool,
) -> Result<End, Refusal> {
    let variants = variants(spec, planned.plan.vcpus.len() as u32);
    let hashed = Hashed::new(&planned.plan)?;
    let given = planned.plan.identity.vmsa_features;
    let found = work::first(variants.len(), |n| {
        let Variant { spec, differences } = &variants[n];
        let features = try_one(spec, planned.kind, &hashed, given, wanted.digest)?;
        Ok::<_, Refusal>(features.map(|features| {
            let mut differences = differences.clone();
            if features != given {
                differences.push(format!("guest features {:#x}, not {:#x}", features | 1, given | 1));
            }
            differences
        }))
    })?;
    let tried = variants.len() * FEATURES.len();
    match as_json {
        true => print::json(&json!({
            "platform": planned.kind.to_string(),
            "predicted": planned.predicted().to_string(),
            "wanted": wanted.digest.to_string(),
            "evidence": wanted.evidence(),
            "tried": tried,
            "found": found.as_ref().map(|differences| json!({ "differences": differences })),
        })),
        false => tell(&planned.measurement, wanted, found.as_deref(), tried),
    }
    Ok(if found.is_some() { End::Measured } else { End::Unexplained })
}

fn tell(predicted: &Measurement, wanted: &WantedSnp, found: Option<&[String]>, tried: usize) {
    print::line(format_args!("predicted {}", predicted.digest));
    wanted.tell();
    match found {
        Some([]) => print::line("the same: this guest has that digest"),
        Some(differences) => {
            print::line("explained: that digest comes from the guest given, with");
            differences.iter().for_each(|d| print::line(format_args!("  - {d}")));
        }
        None => {
            print::line(format_args!("not explained: none of {tried} guests has that digest"));
            print::line("what can still differ, in launch order, and the digest after it here:");
            for stage in &predicted.stages {
                print::line(format_args!("  {} {} at {:#x}", stage.digest_after, stage.label, stage.gpa));
            }
        }
    }
}

/// The guest itself, then those that differ from it in what is commonly got wrong.
fn variants(spec: &VmSpec, vcpus: u32) -> Vec<Variant> {
    let cmdline = spec.cmdline.clone().unwrap_or_default();
    let serial = spec.console.as_ref().is_some_and(|c| *c != ConsoleSpec::Off);
    let (other_console, console) = match serial {
        true => (ConsoleSpec::Off, "no serial console"),
        false => (ConsoleSpec::Stdio, "a serial console"),
    };
    let cmdlines = [
        (cmdline.clone(), None),
        (format!("{cmdline}\n"), Some("a newline at the end of the command line")),
        (
            cmdline.trim_end_matches(['\n', '\r']).to_owned(),
            Some("no newline at the end of the command line"),
        ),
        (cmdline.trim().to_owned(), Some("no white space around the command line")),
        (format!("{cmdline} "), Some("a space at the end of the command line")),
        (String::new(), Some("an empty command line")),
    ];
    let mut all: Vec<Variant> = Vec::new();
    let mut add = |spec: VmSpec, differences: Vec<String>| {
        if all.iter().all(|v| v.spec != spec) {
            all.push(Variant { spec, differences });
        }
    };
    for (initrd, without) in [(spec.initrd.clone(), None), (None, Some("no initrd"))] {
        let consoles = [(spec.console.clone(), None), (Some(other_console.clone()), Some(console))];
        for (at, with) in consoles {
            for (cmdline, how) in &cmdlines {
                let (cmdline, initrd, at) = (Some(cmdline.clone()), initrd.clone(), at.clone());
                let spec = VmSpec { cmdline, initrd, console: at, ..spec.clone() };
                let differences = [*how, without, with].into_iter().flatten().map(str::to_owned);
                add(spec, differences.collect());
            }
        }
    }
    let given = VmSpec { cmdline: Some(cmdline), ..spec.clone() };
    for cpus in (1..=MAX_VCPUS).filter(|n| *n != vcpus) {
        add(VmSpec { cpus: Some(cpus), ..given.clone() }, vec![format!("{cpus} vCPUs, not {vcpus}")]);
    }
    // 128 MiB to 64 GiB.
    for memory in (27..=36).map(|shift| 1u64 << shift) {
        let difference = format!("{} MiB of memory", memory >> 20);
        add(VmSpec { memory: Some(Size(memory)), ..given.clone() }, vec![difference]);
    }
    all
}

/// The SEV features with which `spec` measures to `wanted`. A guest that cannot be planned has no digest.
fn try_one(
    spec: &VmSpec,
    kind: PlatformKind,
    hashed: &Hashed,
    given: u64,
    wanted: Digest384,
) -> Result<Option<u64>, Refusal> {
    let Ok(plan) = plan_unmeasured(spec, kind) else { return Ok(None) };
    let measured = measure_snp_hashed(&plan, &hashed.of(&plan)).map_err(|e| refuse("cannot measure", e))?;
    let pages = measured.stages.len().saturating_sub(plan.vcpus.len());
    let after_pages = pages.checked_sub(1).and_then(|last| measured.stages.get(last));
    let after_pages = after_pages.map_or(Digest384::ZERO, |stage| stage.digest_after);
    Ok([given].into_iter().chain(FEATURES).find(|features| {
        let mut digest = SnpDigest::after(after_pages);
        plan.vcpus.iter().for_each(|cpu| digest.update_vmsa(&vmsa_page(cpu, *features)));
        digest.value() == wanted
    }))
}

/// The hashes of a plan's large runs: those of files, the same in every plan that has them at their place.
struct Hashed(Vec<(&'static str, u64, u64, Vec<PageHash>)>);

impl Hashed {
    fn new(plan: &LaunchPlan) -> Result<Self, Refusal> {
        let large = plan.pages.iter().filter(|run| run.kind == PageKind::Measured && run.pages >= LARGE);
        let mut all = Vec::new();
        for run in large.filter(|run| matches!(run.label, "kernel" | "initrd")) {
            let pieces =
                work::all(run.pages.div_ceil(LARGE) as usize, |n| hash_pages(run, n as u64 * LARGE, LARGE));
            let hashes: Result<Vec<_>, _> = pieces.into_iter().collect();
            let hashes = hashes.map_err(|e| refuse("cannot measure", e))?.concat();
            all.push((run.label, run.gpa, run.pages, hashes));
        }
        Ok(Hashed(all))
    }

    fn of(&self, plan: &LaunchPlan) -> PlanHashes {
        let mut ahead = PlanHashes::default();
        for (index, run) in plan.pages.iter().enumerate() {
            let same = self
                .0
                .iter()
                .find(|(label, gpa, pages, _)| (*label, *gpa, *pages) == (run.label, run.gpa, run.pages));
            if let Some((.., hashes)) = same {
                ahead.push(index, hashes.clone());
            }
        }
        ahead
    }
}
