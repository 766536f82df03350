//! From what the operator writes to what the kernel is asked: every key of `--coco` in its ioctl.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use cloister_coco::launch::{PlatformKind, Trace};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::guest::Guest;
use super::plan::plan;
use super::test_files::{Files, ID_KEY};
use crate::board::{LaunchOptions, dry_run};
use crate::config::CpuModel;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(buf)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a command of the launch was given, by its name.
struct Launched(Vec<Value>);

impl Launched {
    fn new(files: &Files, firmware: &str, coco: &str, kind: PlatformKind) -> Self {
        let mut spec = files.spec(Some(firmware), false, coco);
        spec.cpu_model = Some(CpuModel(0x00a0_0f11));
        let planned = plan(&Guest::new(&spec).unwrap(), kind, None).unwrap();
        let sink = Sink::default();
        let trace = Arc::new(Trace::new(Box::new(sink.clone())));
        let options = LaunchOptions { kind, certificates: false, guest_memfd: false };
        let digest = dry_run(&planned.plan, options, Some(Arc::clone(&trace))).unwrap();
        assert_eq!(digest, Some(planned.predicted().0), "computed beneath");
        trace.end().unwrap();
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        Launched(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    fn given(&self, command: &str) -> &Value {
        let line = self.0.iter().find(|line| line["command"] == command);
        &line.unwrap_or_else(|| panic!("no {command}"))["args"]["data"]
    }
}

#[test]
fn keys_of_snp() {
    use cloister_firmware::identity::{IdBlock, IdKey};
    let files = Files::new();
    let host_data = "ab".repeat(32);
    let keys = format!("policy=0x130000,host-data={host_data},vcek-disabled=on,debug-swap=on,debug=on");
    let first = Launched::new(&files, "amdsev", &format!("snp,{keys}"), PlatformKind::Snp);
    assert_eq!(first.given("KVM_SEV_INIT2")["vmsa_features"], "0x20");
    assert_eq!(first.given("KVM_SEV_SNP_LAUNCH_START")["policy"], "0x1b0000");
    let finish = first.given("KVM_SEV_SNP_LAUNCH_FINISH");
    assert_eq!(finish["host_data"], host_data.as_str());
    assert_eq!(
        (&finish["vcek_disabled"], &finish["id_block_en"], &finish["auth_key_en"]),
        (&1.into(), &0.into(), &0.into())
    );

    let mut spec = files.spec(Some("amdsev"), false, "snp");
    spec.cpu_model = Some(CpuModel(0x00a0_0f11));
    let planned = plan(&Guest::new(&spec).unwrap(), PlatformKind::Snp, None).unwrap();
    let block = IdBlock {
        digest: planned.predicted(),
        family_id: [1; 16],
        image_id: [2; 16],
        guest_svn: 3,
        policy: 0x30000,
    };
    let key = IdKey::from_pem(ID_KEY).unwrap();
    let signed = block.sign(&key, Some(&key));
    std::fs::write(files.path("block"), signed.block).unwrap();
    std::fs::write(files.path("auth"), &signed.auth[..]).unwrap();
    let dir = files.dir().display();
    let keys = format!("snp,id-block=@{dir}/block,id-auth=@{dir}/auth,author-key-enabled=on");
    let second = Launched::new(&files, "amdsev", &keys, PlatformKind::Snp);
    let finish = second.given("KVM_SEV_SNP_LAUNCH_FINISH");
    assert_eq!((&finish["id_block_en"], &finish["auth_key_en"]), (&1.into(), &1.into()));
    let sha256 = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    assert_eq!(finish["id_block_sha256"], sha256(&signed.block).as_str());
    assert_eq!(finish["id_auth_sha256"], sha256(&signed.auth[..]).as_str());
}

#[test]
fn keys_of_tdx() {
    let files = Files::new();
    let [a, b, c] = ["01", "02", "03"].map(|byte| byte.repeat(48));
    let keys = format!("tdx,sept-ve-disable=off,xfam=0x7,mrconfigid={a},mrowner={b},mrownerconfig={c}");
    let launched = Launched::new(&files, "tdvf", &keys, PlatformKind::Tdx);
    let given = launched.given("KVM_TDX_INIT_VM");
    assert_eq!((&given["attributes"], &given["xfam"]), (&"0x0".into(), &"0x7".into()));
    for (key, value) in [("mrconfigid", a), ("mrowner", b), ("mrownerconfig", c)] {
        assert_eq!(given[key], value.as_str(), "{key}");
    }
    assert_eq!(*launched.given("KVM_TDX_INIT_VCPU"), "0x809000", "where the hand-off blocks are");

    let usual = Launched::new(&files, "tdvf", "tdx", PlatformKind::Tdx);
    assert_eq!(usual.given("KVM_TDX_INIT_VM")["attributes"], "0x10000000");
}
