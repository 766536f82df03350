//! `vectors.json`: Debian's AmdSev image under SNP, its stages, VMSAs, single pages, the hash table.

use std::sync::OnceLock;

use cloister_firmware::linux::{Blob, KernelHashes};
use cloister_firmware::measure::{Measurement, SnpDigest, measure_snp, vmsa_page};
use cloister_firmware::ovmf::Firmware;
use cloister_firmware::plan::{
    FirmwareBoot, Identity, LaunchPlan, PageKind, PlanError, Profile, cpu_signature, plan_firmware,
};
use serde_json::Value;
use sha2::{Digest, Sha384};

use super::images::{AMDSEV, firmware};

/// The whole file.
pub(super) fn json() -> &'static Value {
    static JSON: OnceLock<Value> = OnceLock::new();
    JSON.get_or_init(|| serde_json::from_str(include_str!("../../vectors/measure/vectors.json")).unwrap())
}

/// A row of the file.
pub(super) struct Row<'a>(pub(super) &'a Value);

impl Row<'_> {
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.0[key].as_str()
    }

    fn number(&self, key: &str) -> u64 {
        let text = self.text(key).unwrap();
        u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
    }

    pub(super) fn vcpus(&self) -> u32 {
        self.0["vcpus"].as_u64().unwrap() as u32
    }

    pub(super) fn signature(&self) -> u32 {
        // Rows of launchers that do not measure the model have none.
        self.text("sig").map_or(0, |_| self.number("sig") as u32)
    }

    pub(super) fn digest(&self) -> &str {
        self.text("digest").unwrap()
    }

    /// Kernel and initrd by their SHA-256, which is all of them that is measured.
    pub(super) fn hashes(&self) -> Option<KernelHashes> {
        let blob = |name: &str| match name {
            "/dev/null" => Blob::empty(),
            name => {
                let sha256 = hex::decode(json()["blobs"][name].as_str().unwrap()).unwrap();
                Blob { len: 0, sha256: sha256.try_into().unwrap() }
            }
        };
        let initrd = self.text("initrd").map(blob);
        let append = self.text("append").unwrap_or("");
        Some(KernelHashes::new(&blob(self.text("kernel")?), initrd.as_ref(), append))
    }

    pub(super) fn plan(&self, firmware: &Firmware) -> Result<LaunchPlan, PlanError> {
        let profile = match self.text("vmm").unwrap() {
            "QEMU" => Profile::Qemu,
            "ec2" => Profile::Ec2,
            "gce" => Profile::Gce,
            other => panic!("launcher {other}"),
        };
        // SNP_ACTIVE is KVM's to set.
        let vmsa_features = self.number("guest_features") & !1;
        plan_firmware(FirmwareBoot {
            firmware,
            svsm: None,
            hashes: self.hashes(),
            profile,
            memory: 1 << 30,
            vcpus: self.vcpus(),
            signature: self.signature(),
            identity: Identity { vmsa_features, ..Identity::default() },
        })
    }

    pub(super) fn measure(&self, firmware: &Firmware) -> Measurement {
        measure_snp(&self.plan(firmware).unwrap()).unwrap()
    }
}

fn pairs(key: &str) -> Vec<(&'static str, &'static str)> {
    let rows = json()[key].as_array().unwrap().iter();
    rows.map(|row| (row[0].as_str().unwrap(), row[1].as_str().unwrap())).collect()
}

#[test]
fn debian_amdsev_measures_to_every_row() {
    let firmware = firmware(AMDSEV);
    let rows = json()["snp_debian_amdsev"].as_array().unwrap();
    assert_eq!(rows.len(), 20);
    for row in rows.iter().map(Row) {
        assert_eq!(row.measure(&firmware).digest.to_string(), row.digest(), "{}", row.0["cmd"]);
        if let Some(model) = row.text("vcpu_type") {
            assert_eq!(cpu_signature(model), Some(row.signature()), "{model}");
        }
    }
}

#[test]
fn what_qemu_launches_we_launch_as_well() {
    let firmware = firmware(AMDSEV);
    let row =
        json()["snp_debian_amdsev"].as_array().unwrap().iter().map(Row).find(|r| r.vcpus() == 8).unwrap();
    let plan = plan_firmware(FirmwareBoot {
        firmware: &firmware,
        svsm: None,
        hashes: None,
        profile: Profile::Cloister,
        memory: 1 << 30,
        vcpus: 8,
        signature: row.signature(),
        identity: Identity::default(),
    });
    let plan = plan.unwrap();
    assert_eq!(measure_snp(&plan).unwrap().digest.to_string(), row.digest());
    assert_eq!((plan.pages[0].gpa, plan.pages[0].end()), (0xffc0_0000, 1 << 32));
    assert_eq!((plan.vcpus[1].cs.base, plan.vcpus[1].rip), (0x80_0000, 0xb004));
}

#[test]
fn every_stage_has_its_digest() {
    let firmware = firmware(AMDSEV);
    let rows: Vec<_> = json()["snp_debian_amdsev"].as_array().unwrap().iter().map(Row).collect();
    let row = rows.iter().find(|r| r.vcpus() == 2).unwrap();
    let plan = row.plan(&firmware).unwrap();
    let stages = measure_snp(&plan).unwrap().stages;

    let mut want = pairs("snp_stages_2vcpu_epyc_v4");
    let (_, first_page) = want.remove(0);
    let mut page = [0; 4096];
    plan.pages[0].read(0, &mut page).unwrap();
    let mut digest = SnpDigest::new();
    digest.update(PageKind::Measured, plan.pages[0].gpa, &page);
    assert_eq!(digest.value().to_string(), first_page);

    assert_eq!(stages.len(), want.len());
    for (stage, (what, digest)) in stages.iter().zip(want) {
        assert_eq!(stage.digest_after.to_string(), digest, "{what} ({})", stage.label);
    }
}

#[test]
fn save_areas_hash_to_their_values() {
    let firmware = firmware(AMDSEV);
    let eip = firmware.reset_eip().unwrap().unwrap();
    let signature = cpu_signature("EPYC-v4").unwrap();
    let cpus = [Profile::Qemu.first_vcpu(signature), Profile::Qemu.other_vcpu(signature, eip)];
    for (cpu, (what, want)) in cpus.iter().zip(pairs("vmsa_sha384")) {
        assert_eq!(hex::encode(Sha384::digest(vmsa_page(cpu, 0))), want, "{what}");
    }
}

#[test]
fn single_pages_measure_to_their_values() {
    let pages = [
        (PageKind::Zero, 0x80_0000),
        (PageKind::Unmeasured, 0x1000),
        (PageKind::Secrets, 0x80_d000),
        (PageKind::Cpuid, 0x80_e000),
        (PageKind::Measured, 0),
    ];
    for ((kind, gpa), (what, want)) in pages.into_iter().zip(pairs("page_info_micro")) {
        let mut digest = SnpDigest::new();
        digest.update(kind, gpa, &[0; 4096]);
        assert_eq!(digest.value().to_string(), want, "{what}");
    }
}

#[test]
fn the_table_of_kernel_hashes_lies_where_the_firmware_looks() {
    let want = &json()["hash_table"];
    let rows = json()["snp_debian_amdsev"].as_array().unwrap().iter().map(Row);
    let row = rows.into_iter().find(|r| r.text("append") == want["cmdline"].as_str()).unwrap();
    let hashes = row.hashes().unwrap();
    assert_eq!(hex::encode(hashes.table()), want["table_hex"].as_str().unwrap());

    let plan = row.plan(&firmware(AMDSEV)).unwrap();
    let run = plan.pages.iter().find(|r| r.label == "kernel hashes").unwrap();
    let mut page = [0; 4096];
    run.read(0, &mut page).unwrap();
    assert_eq!(run.gpa, 0x81_0000);
    assert_eq!(hex::encode(Sha384::digest(page)), want["page_sha384"].as_str().unwrap());
    assert_eq!(KernelHashes::parse(&page[0xc00..]).unwrap(), hashes);
}
