//! Which inputs give a digest that is not the predicted one.

use std::path::{Path, PathBuf};

use cloister_firmware::explain::{
    Combination, Evidence, Found, Given, KnownFirmware, SnpClaims, SnpSearch, TdxClaims,
};
use cloister_firmware::measure::{Digest384, Measurement, PageHash, SnpDigest};
use cloister_firmware::ovmf::Firmware;
use cloister_firmware::plan::{PageKind, PageRun, Profile};
use serde_json::{Value, json};

use super::args::ExplainArgs;
use super::files::{self, Files};
use super::{End, print, refuse, work};
use crate::refusal::Refusal;

/// A digest to explain, and what else the evidence says.
pub(super) struct WantedSnp {
    pub(super) digest: Digest384,
    claims: Option<(PathBuf, SnpClaims)>,
}

/// What a prediction was made from, beside the files.
pub(super) struct Inputs<'a> {
    pub(super) firmware: &'a Path,
    pub(super) other_firmware: &'a [PathBuf],
    pub(super) profile: Profile,
    /// Number of vCPUs; the last if there are several predictions.
    pub(super) vcpus: u32,
    pub(super) signature: u32,
    /// SEV features, without SNP_ACTIVE.
    pub(super) vmsa_features: u64,
    /// Whether there is one prediction.
    pub(super) one: bool,
    pub(super) json: bool,
}

impl WantedSnp {
    /// The digest, and what else a report says, for people.
    pub(super) fn tell(&self) {
        let from = if self.claims.is_some() { "evidence " } else { "wanted   " };
        print::line(format_args!("{from} {}", self.digest));
        if let Some((_, claims)) = &self.claims {
            print::line(format_args!(
                "          policy {:#x}, guest SVN {}",
                claims.policy, claims.guest_svn
            ));
        }
    }

    /// What a report says.
    pub(super) fn evidence(&self) -> Value {
        let Some((path, c)) = &self.claims else { return Value::Null };
        json!({
            "path": path.to_string_lossy(),
            "version": c.version,
            "policy": format!("{:#x}", c.policy),
            "guest_svn": c.guest_svn,
            "family_id": hex::encode(c.family_id),
            "image_id": hex::encode(c.image_id),
            "host_data": hex::encode(c.host_data),
            "id_key_digest": c.id_key_digest.to_string(),
            "author_key_digest": c.author_key_digest.to_string(),
            "host_cpu_signature": c.host_signature.map(|s| format!("{s:#x}")),
        })
    }
}

impl ExplainArgs {
    /// The launch digest to explain, if there is one.
    pub(super) fn wanted_snp(&self) -> Result<Option<WantedSnp>, Refusal> {
        if let Some(digest) = self.explain {
            return Ok(Some(WantedSnp { digest: digest.into(), claims: None }));
        }
        let Some(path) = &self.diff else { return Ok(None) };
        match evidence(path)? {
            Evidence::Snp(claims) => {
                Ok(Some(WantedSnp { digest: claims.measurement, claims: Some((path.clone(), claims)) }))
            }
            Evidence::Tdx(_) => Err(other_platform(path, "TDX", "tdx")),
        }
    }

    /// What a TD's evidence says, if there is some.
    pub(super) fn claims_tdx(&self) -> Result<Option<TdxClaims>, Refusal> {
        let Some(path) = &self.diff else { return Ok(None) };
        match evidence(path)? {
            Evidence::Tdx(claims) => Ok(Some(claims)),
            Evidence::Snp(_) => Err(other_platform(path, "SNP", "snp")),
        }
    }
}

/// Reads a report or a quote.
pub(super) fn evidence(path: &Path) -> Result<Evidence, Refusal> {
    let what = format!("cannot use the evidence {}", path.display());
    let bytes = std::fs::read(path)
        .map_err(|e| Refusal::new(&what, e, "give the path of a readable report or quote"))?;
    Evidence::parse(&bytes).map_err(|e| refuse(&what, e))
}

fn other_platform(path: &Path, name: &str, command: &str) -> Refusal {
    Refusal::new(
        format_args!("{} is evidence of the other platform", path.display()),
        format_args!("it comes from {name}"),
        format_args!("compare it with `cloister measure {command}`"),
    )
}

/// Explains `wanted`, around the prediction `measured`.
pub(super) fn snp(
    inputs: &Inputs<'_>,
    files: Files,
    measured: &Measurement,
    wanted: WantedSnp,
) -> Result<End, Refusal> {
    let mut known = vec![known_firmware(inputs.firmware, files.firmware, &files.pages)];
    for path in inputs.other_firmware {
        let firmware = files::firmware(path)?;
        let pages = files::pages(&firmware)?;
        known.push(known_firmware(path, firmware, &pages));
    }
    let search = SnpSearch::new(
        known,
        Given {
            profile: inputs.profile,
            vcpus: inputs.vcpus,
            signature: inputs.signature,
            vmsa_features: inputs.vmsa_features,
            kernel: files.kernel,
            host_signature: wanted.claims.as_ref().and_then(|(_, c)| c.host_signature),
        },
    );
    let combinations: Vec<Combination> = search.combinations();
    let found = work::first(combinations.len(), |n| search.try_one(combinations[n], wanted.digest))
        .map_err(|e| refuse("cannot measure", e))?;
    let predicted = inputs.one.then_some(measured.digest);
    if inputs.json {
        print::json(&report(&search, predicted, &wanted, found.as_ref()));
    } else {
        tell(&search, predicted, &wanted, found.as_ref(), measured);
    }
    Ok(if found.is_some() { End::Measured } else { End::Unexplained })
}

fn known_firmware(path: &Path, firmware: Firmware, pages: &[PageHash]) -> KnownFirmware {
    let run = PageRun::bytes(firmware.base(), PageKind::Measured, "firmware", firmware.shared_bytes());
    let mut digest = SnpDigest::new();
    digest.update_hashed(&run, 0, pages);
    KnownFirmware { name: path.display().to_string(), firmware, after: digest.value() }
}

fn tell(
    search: &SnpSearch,
    predicted: Option<Digest384>,
    wanted: &WantedSnp,
    found: Option<&Found>,
    measured: &Measurement,
) {
    if let Some(digest) = predicted {
        print::line(format_args!("predicted {digest}"));
    }
    wanted.tell();
    match found {
        Some(found) if found.differences.is_empty() => {
            print::line("the same: these inputs give that digest");
        }
        Some(found) => {
            print::line("explained: that digest comes from the inputs given, with");
            found.differences.iter().for_each(|d| print::line(format_args!("  - {d}")));
            print::line(format_args!("in all: {}", describe(search, found)));
        }
        None => unexplained(search, measured),
    }
}

fn describe(search: &SnpSearch, found: &Found) -> String {
    let signature = match &found.signature {
        Some(s) => format!(", CPU signature {:#x} ({})", s.value, s.name),
        None => String::new(),
    };
    format!(
        "{}, launched by {}, {} vCPUs{signature}, guest features {:#x}",
        search.firmware_name(found.firmware),
        found.profile.name(),
        found.vcpus,
        found.vmsa_features | 1,
    )
}

/// What can still differ, in launch order: everything that was tried is ruled out.
fn unexplained(search: &SnpSearch, measured: &Measurement) {
    print::line(format_args!("not explained: none of {} combinations gives that digest", search.size()));
    print::line("what can still differ, in launch order:");
    let stage = |label: &str| measured.stages.iter().find(|s| s.label == label);
    if let Some(s) = stage("firmware") {
        print::line(format_args!(
            "  1. firmware: another file than {}. Digest after it here: {}",
            search.firmware_names(),
            s.digest_after
        ));
    }
    if let Some(s) = stage("kernel hashes") {
        let what = match search.has_kernel() {
            true => "another kernel, initrd or command line than those given",
            false => "a kernel that is not given here (--kernel, --initrd, --cmdline)",
        };
        print::line(format_args!("  2. kernel hashes: {what}. Digest after them here: {}", s.digest_after));
    }
    print::line(
        "  3. vCPU states: more than 512 vCPUs, another CPU signature (a `host` model: give --cpu-sig), \
         other guest features (--guest-features)",
    );
}

fn report(
    search: &SnpSearch,
    predicted: Option<Digest384>,
    wanted: &WantedSnp,
    found: Option<&Found>,
) -> Value {
    let found = found.map(|f| {
        json!({
            "differences": f.differences,
            "profile": f.profile.name(),
            "firmware": search.firmware_name(f.firmware),
            "kernel_hashes": f.kernel.hashes.is_some(),
            "cpus": f.vcpus,
            "cpu_signature": f.signature.as_ref().map(|s| format!("{:#x}", s.value)),
            "guest_features": format!("{:#x}", f.vmsa_features | 1),
        })
    });
    json!({
        "platform": "snp",
        "predicted": predicted.map(|d| d.to_string()),
        "wanted": wanted.digest.to_string(),
        "evidence": wanted.evidence(),
        "tried": search.size(),
        "found": found,
    })
}
