//! Real evidence, and recipes that spoil it: every one with its expected verdict.
#![cfg(feature = "verifier")]

use std::path::{Path, PathBuf};

use cloister_attestation::certs::CertTable;
use cloister_attestation::policy::Policy;
use cloister_attestation::snp::roots::PINNED;
use cloister_attestation::snp::{Expected, HostData, Product, Verdict, verify, verify_snp_evidence};
use cloister_attestation::time::UnixTime;
use serde_json::Value;

const TODAY: u64 = 1_795_132_800; // 2026-11-20

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} in {value}"))
}

fn unhex(value: &Value, key: &str) -> Vec<u8> {
    hex::decode(text(value, key)).unwrap()
}

/// A vector, with everything that a recipe can change.
struct Case {
    json: Value,
    report: Vec<u8>,
    certs: CertTable,
    policy: Policy,
    report_data: [u8; 64],
    at: u64,
}

impl Case {
    fn load(id: &str) -> Self {
        let read = |file: &str| std::fs::read(vectors().join(id).join(file));
        let json: Value = serde_json::from_slice(&read("vector.json").unwrap()).unwrap();
        let measurement = text(&json, "measurement");
        let policy = format!("version = 1\n[snp]\nmeasurements = [\"{measurement}\"]\n");
        let mut certs = CertTable::default();
        let root = PINNED.iter().find(|root| json["product"] == root.product.name());
        let is_vlek = json["signing_key"] == "VLEK";
        if let Some(root) = root {
            certs.ark = Some(root.ark.to_vec());
            certs.ask = if is_vlek { root.asvk } else { Some(root.ask) }.map(<[u8]>::to_vec);
        }
        let vek = read("vek.der").ok();
        if is_vlek {
            certs.vlek = vek
        } else {
            certs.vcek = vek
        }
        Self {
            report: read("report.bin").unwrap(),
            certs,
            policy: Policy::parse(&policy).unwrap(),
            report_data: unhex(&json, "report_data").try_into().unwrap(),
            at: json["verify_at"].as_u64().unwrap_or(TODAY),
            json,
        }
    }

    fn judge_at(&self, at: u64) -> Verdict {
        let expected =
            Expected { report_data: self.report_data, host_data: HostData::PolicyOnly, now: UnixTime(at) };
        verify(&self.report, &self.certs, &self.policy, &expected)
    }

    fn judge(&self) -> Verdict {
        self.judge_at(self.at)
    }

    fn file(&mut self, name: &str) -> &mut Vec<u8> {
        let slot = match name {
            "report.bin" => return &mut self.report,
            "ark.der" => &mut self.certs.ark,
            "ask.der" => &mut self.certs.ask,
            "vek.der" if self.certs.vlek.is_some() => &mut self.certs.vlek,
            "vek.der" => &mut self.certs.vcek,
            other => panic!("file {other}"),
        };
        slot.as_mut().unwrap()
    }

    fn apply(&mut self, op: &Value) {
        let number = |key: &str| usize::try_from(op[key].as_u64().unwrap()).unwrap();
        let file = || text(op, "file");
        match text(op, "op") {
            "xor" => self.file(file())[number("offset")] ^= number("mask") as u8,
            "xor_end" => {
                let bytes = self.file(file());
                let at = bytes.len() - number("from_end");
                bytes[at] ^= number("mask") as u8;
            }
            "set" => {
                let value = unhex(op, "hex");
                let at = number("offset");
                self.file(file())[at..at + value.len()].copy_from_slice(&value);
            }
            "fill" => self.file(file())[number("offset")..][..number("len")].fill(number("byte") as u8),
            "truncate" => self.file(file()).truncate(number("len")),
            "append" => self.file(file()).extend(unhex(op, "hex")),
            "replace" => *self.file(file()) = other_file(text(op, "with")),
            "at" => self.at = op["unix"].as_u64().unwrap(),
            "expect_report_data" => {
                let value = unhex(op, "hex");
                self.report_data = [0; 64];
                self.report_data[..value.len()].copy_from_slice(&value);
            }
            "policy" => {
                let floor = number("min_reported_tcb_ucode");
                self.policy.snp.min_tcb.microcode = Some(u8::try_from(floor).unwrap());
            }
            other => panic!("op {other}"),
        }
    }
}

/// A file named relative to the collection: its roots are the pinned ones here.
fn other_file(path: &str) -> Vec<u8> {
    let name = path.strip_prefix("snp/visible/").unwrap();
    let Some(root) = name.strip_prefix("_roots/") else {
        return std::fs::read(vectors().join(name)).unwrap();
    };
    let (product, kind) = root.strip_suffix(".der").unwrap().split_once('_').unwrap();
    let pinned = PINNED.iter().find(|root| root.product.name().eq_ignore_ascii_case(product)).unwrap();
    match kind {
        "ark" => pinned.ark.to_vec(),
        "ask" => pinned.ask.to_vec(),
        "asvk" => pinned.asvk.unwrap().to_vec(),
        other => panic!("root {other}"),
    }
}

fn ids() -> Vec<String> {
    let entries = std::fs::read_dir(vectors()).unwrap().map(|entry| entry.unwrap().path());
    let mut ids: Vec<_> = entries
        .filter(|path| path.join("vector.json").exists())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    ids.sort();
    assert_eq!(ids.len(), 14);
    ids
}

/// Whether the cryptographic part passed: the report is known to be genuine.
fn genuine(verdict: &Verdict) -> bool {
    verdict.measurement().is_some()
}

#[test]
fn real_evidence_has_its_verdict() {
    for id in ids() {
        let case = Case::load(&id);
        let verdict = case.judge();
        assert_eq!(genuine(&verdict), case.json["expect_crypto"] == "pass", "{id}: {verdict}");
        assert!(!verdict.simulated());
        let class = verdict.reason().map(|reason| reason.class());
        let wanted = match text(&case.json, "expect_strict_policy") {
            "accept" => None,
            "reject: debug" => Some("PolicyDebug"),
            "reject: vmpl!=0" => Some("PolicyVmpl"),
            "reject: no endorsement" => Some("NoEndorsement"),
            other => panic!("{other}"),
        };
        assert_eq!(class, wanted, "{id}: {verdict}");
        assert_eq!(verdict.accepted(), wanted.is_none(), "{id}: {verdict}");
    }
}

#[test]
fn real_evidence_ages() {
    for id in ids() {
        let case = Case::load(&id);
        let verdict = case.judge_at(TODAY);
        let passes = case.json["expect_crypto_at_2026_11_20"] == "pass";
        assert_eq!(genuine(&verdict), passes, "{id}: {verdict}");
    }
}

#[test]
fn the_pinned_intermediates_suffice() {
    for id in ids() {
        let mut case = Case::load(&id);
        (case.certs.ark, case.certs.ask) = (None, None);
        assert_eq!(genuine(&case.judge()), case.json["expect_crypto"] == "pass", "{id}");
    }
}

#[test]
fn products_follow_from_the_chain() {
    for id in ids() {
        let case = Case::load(&id);
        if let Some(product) = case.judge().product() {
            assert_eq!(case.json["product"], product.name(), "{id}");
            assert!(Product::HARDWARE.contains(&product));
        }
    }
}

#[test]
fn spoiled_evidence_is_refused_for_its_reason() {
    let recipes = std::fs::read(vectors().join("negatives.json")).unwrap();
    let recipes: Value = serde_json::from_slice(&recipes).unwrap();
    let cases = recipes["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 37);
    for recipe in cases {
        let id = text(recipe, "id");
        let base = text(recipe, "base").strip_prefix("snp/visible/").unwrap();
        let mut case = Case::load(base);
        recipe["ops"].as_array().unwrap().iter().for_each(|op| case.apply(op));
        let verdict = case.judge();
        assert!(!verdict.accepted(), "{id} was accepted");
        let class = verdict.reason().unwrap().class();
        assert!(text(recipe, "expect").split('|').any(|wanted| wanted == class), "{id}: {class}: {verdict}");
    }
}

#[test]
fn evidence_as_a_guest_sends_it() {
    let case = Case::load("genoa-v3-vcek-veraison");
    let table = std::fs::read(vectors().join("genoa-v3-vcek-veraison/auxblob.bin")).unwrap();
    let expected =
        Expected { report_data: case.report_data, host_data: HostData::PolicyOnly, now: UnixTime(case.at) };
    let verdict = verify_snp_evidence(&case.report, &table, &case.policy, &expected);
    assert!(verdict.accepted(), "{verdict}");
}
