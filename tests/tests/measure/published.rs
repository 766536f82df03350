//! The digests that sev-snp-measure's own tests publish.

use cloister_firmware::measure::{Digest384, SevMode, SnpDigest, measure_sev, measure_snp, vmsa_page};
use cloister_firmware::ovmf::FirmwareError;
use cloister_firmware::plan::{FirmwareBoot, Identity, LaunchPlan, PlanError, Profile, Svsm, plan_firmware};

use super::images::suffix;
use super::synthetic::svsm_image;
use super::vectors::{Row, json};

fn rows() -> Vec<Row<'static>> {
    json()["sev_snp_measure_published"].as_array().unwrap().iter().map(Row).collect()
}

fn fixture(row: &Row<'_>) -> String {
    let path = row.text("ovmf").unwrap();
    path.rsplit('/').next().unwrap().trim_end_matches(".bin").to_owned()
}

#[test]
fn snp_rows() {
    let rows = rows();
    let rows: Vec<_> = rows.iter().filter(|r| r.text("mode") == Some("SEV_SNP")).collect();
    assert_eq!(rows.len(), 17);
    for row in rows {
        let plan = row.plan(&suffix(&fixture(row))).unwrap();
        let found = match seed(row) {
            Some(seed) => measure_from(seed, &plan, 1),
            None => measure_snp(&plan).unwrap().digest,
        };
        assert_eq!(found.to_string(), row.digest(), "{}", row.0["test"]);
    }
}

/// The digest of the firmware's pages that a row hands over, instead of the firmware.
fn seed(row: &Row<'_>) -> Option<Digest384> {
    row.text("ovmf_hash").map(|hash| Digest384(hex::decode(hash).unwrap().try_into().unwrap()))
}

/// What comes after `skipped` runs of pages that measured to `seed`.
fn measure_from(seed: Digest384, plan: &LaunchPlan, skipped: usize) -> Digest384 {
    let mut digest = SnpDigest::after(seed);
    plan.pages[skipped..].iter().for_each(|run| digest.update_run(run).unwrap());
    plan.vcpus.iter().for_each(|cpu| digest.update_vmsa(&vmsa_page(cpu, plan.identity.vmsa_features)));
    digest.value()
}

#[test]
fn sev_and_sev_es_rows() {
    let rows = rows();
    let rows = rows.iter().filter(|r| matches!(r.text("mode"), Some("SEV" | "SEV_ES")));
    let mut seen = 0;
    for row in rows {
        let mode = match row.text("mode") {
            Some("SEV") => SevMode::Sev,
            _ => SevMode::SevEs { vcpus: row.vcpus(), signature: row.signature() },
        };
        let found = measure_sev(&suffix(&fixture(row)), row.hashes().as_ref(), mode).unwrap();
        assert_eq!(hex::encode(found), row.digest(), "{}", row.0["test"]);
        seen += 1;
    }
    assert!(seen >= 5, "{seen} rows");
}

/// Where launchers differ, the second public tool (virtee/sev, `tests/measurement.rs`, commit 9cf2adb)
/// predicts something else for EC2 than the first, whose rows are those above.
#[test]
fn what_the_other_tool_predicts_for_ec2_is_known_as_well() {
    let rows = rows();
    let row = rows.iter().find(|r| r.text("vmm") == Some("ec2")).unwrap();
    for (features, want) in [
        (
            0,
            "7d3756157c805bf6adf617064c8552e8c1688fa1c8756f11cbf56ba5d25c9270fb69c0505c1cbe1c5c66c0e34c6ed3be",
        ),
        (
            0x20,
            "6ae80856486b1396af8c82a40351d6ed76a20c785e9c7fa4ffa27c22d5d6313b4b3b458cd3c9968e6f89fb5d8450d7a6",
        ),
    ] {
        let plan = plan_firmware(FirmwareBoot {
            firmware: &suffix("ovmf_AmdSev_suffix"),
            svsm: None,
            hashes: row.hashes(),
            profile: Profile::Ec2RdxZero,
            memory: 1 << 30,
            vcpus: 1,
            signature: row.signature(),
            identity: Identity { vmsa_features: features, ..Identity::default() },
        });
        assert_eq!(measure_snp(&plan.unwrap()).unwrap().digest.to_string(), want);
    }
}

#[test]
fn a_kernel_needs_a_firmware_that_checks_it() {
    let firmware = suffix("ovmf_OvmfX64_suffix");
    let rows = rows();
    let with_kernel = rows.iter().find(|r| r.text("kernel").is_some() && r.text("mode") == Some("SEV_SNP"));
    let refused = with_kernel.unwrap().plan(&firmware).unwrap_err();
    let because = matches!(&refused, PlanError::Firmware { source: FirmwareError::NoKernelHashes { .. } });
    assert!(because, "{refused}");
}

/// The launch digest after all pages of `svsm_ovmf.fd` and `svsm.bin` (5 MB, not in this repository; from
/// the same commit as the rows, SHA-256 50d1bf86… and 287fcee6…).
const AFTER_SVSM_IMAGES: &str =
    "ebf48785b708f9397dd8098fd64ba2d961aa6fcb15ee55616d19208f236a2828c50ebee83800be4d54bb3ac0ae1fcc7e";

/// The rows with an SVSM launch it with features 0x1, whatever else they say.
#[test]
fn svsm_rows_from_the_digest_after_their_images() {
    let firmware = suffix("ovmf_OvmfX64_suffix");
    let svsm = svsm_image(0x11_6000, 0);
    let rows = rows();
    let rows: Vec<_> = rows.iter().filter(|r| r.text("mode") == Some("SEV_SNP_SVSM")).collect();
    assert_eq!(rows.len(), 3);
    for row in rows {
        let vars_size = row.0["vars_size"].as_u64().unwrap();
        // In the place of `svsm_ovmf.fd`, a page and what is missing to its size.
        let missing = 0x37_c000 - firmware.bytes().len() as u64;
        let plan = plan_firmware(FirmwareBoot {
            firmware: &firmware,
            svsm: Some(Svsm { image: &svsm, vars_size: vars_size + missing }),
            hashes: None,
            profile: Profile::Qemu,
            memory: 1 << 30,
            vcpus: row.vcpus(),
            signature: row.signature(),
            identity: Identity::default(),
        });
        let seed: [u8; 48] = hex::decode(AFTER_SVSM_IMAGES).unwrap().try_into().unwrap();
        let found = measure_from(Digest384(seed), &plan.unwrap(), 2);
        assert_eq!(found.to_string(), row.digest(), "{}", row.0["test"]);
    }
}
