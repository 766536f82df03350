//! MRTDs in both orders, and the hand-off blocks.

use cloister_firmware::measure::{MrtdDigest, Passes, measure_snp, measure_tdx};
use cloister_firmware::ovmf::Firmware;
use cloister_firmware::plan::{
    FirmwareBoot, GuestLayout, Identity, MemoryRange, Profile, TdxBoot, plan_firmware, plan_tdx,
};
use cloister_firmware::tdvf::{END_HOB_LEN, Tdvf, td_hob};
use sha2::{Digest, Sha256, Sha384};

use super::images::{INTELTDX, debian, firmware, published};
use super::synthetic::gce_example;
use super::vectors::json;

fn mrtd(firmware: &Firmware, passes: Passes) -> String {
    let layout = GuestLayout::new(2 << 30);
    let plan = plan_tdx(TdxBoot { firmware, layout, vcpus: 1, identity: Identity::default() }).unwrap();
    measure_tdx(&plan, passes).unwrap().digest.to_string()
}

#[test]
fn every_image_measures_to_its_mrtds() {
    let (mut measured, mut unreachable) = (Vec::new(), Vec::new());
    for row in json()["mrtd"].as_array().unwrap() {
        let path = row["file"].as_str().unwrap();
        let name = path.rsplit('/').next().unwrap();
        let bytes = match path {
            _ if path.starts_with("firmware/") => debian(name),
            "vec/gce_fake_2mib.fd" => gce_example(),
            _ => match published(name) {
                Some(bytes) => bytes,
                None => {
                    unreachable.push(name);
                    continue;
                }
            },
        };
        assert_eq!(hex::encode(Sha256::digest(&bytes)), row["sha256"].as_str().unwrap(), "{path}");
        let firmware = Firmware::parse(bytes).unwrap();
        assert_eq!(mrtd(&firmware, Passes::Single), row["mrtd_single_pass"].as_str().unwrap(), "{path}");
        assert_eq!(mrtd(&firmware, Passes::Two), row["mrtd_two_pass"].as_str().unwrap(), "{path}");
        measured.push(name);
    }
    let all = ["OVMF.inteltdx.ms.fd", "OVMF.amdsev.fd", "OVMF.inteltdx.fd", "OVMF.fd", "gce_fake_2mib.fd"];
    for name in all {
        assert!(measured.contains(&name) || unreachable.contains(&name), "{name} was not measured");
    }
}

#[test]
fn single_pages_measure_to_their_values() {
    let micro = |n: usize| json()["mrtd_micro"][n][1].as_str().unwrap();
    let mut added = MrtdDigest::new();
    added.add(0x1000);
    let mut extended = MrtdDigest::new();
    extended.add(0);
    extended.extend(0, &[0; 4096]);
    assert_eq!(added.value().to_string(), micro(0));
    assert_eq!(extended.value().to_string(), micro(1));
    assert_eq!(MrtdDigest::new().value().to_string(), micro(2));
}

/// Published by Google for the same image (gce-tcb-verifier, `verify/verifytest/verifytest.go`).
#[test]
fn google_s_example_measures_under_snp_as_well() {
    let plan = plan_firmware(FirmwareBoot {
        firmware: &Firmware::parse(gce_example()).unwrap(),
        svsm: None,
        hashes: None,
        profile: Profile::Gce,
        memory: 1 << 30,
        vcpus: 1,
        signature: 0,
        identity: Identity::default(),
    });
    assert_eq!(
        measure_snp(&plan.unwrap()).unwrap().digest.to_string(),
        "20ec0dbd1c0a26d184a6f11ec5a796d68ec03c9d101bdd84c03f3d9cbbc4a292a9fad098edacfa04da0da58f20be885e"
    );
}

/// The first event of RTMR0, for RAM as QEMU lays it out.
#[test]
fn hand_off_blocks_hash_to_their_values() {
    let tdvf = Tdvf::parse(&firmware(INTELTDX)).unwrap().unwrap();
    let low = MemoryRange::new(0, 0x8000_0000);
    let high = MemoryRange::new(1 << 32, 0x1_8000_0000);
    for (ram, len, want) in [
        (
            vec![low],
            440,
            "0b8772e5b0b41b83e6044a68397e02f49fb47066b4fbe4917ea2c45c64f323fdacbb37948f821ebaf8bc9c938ba8a749",
        ),
        (
            vec![low, high],
            488,
            "2e070cda358b5aa00f27cca25c47381bb564f4be3a84d059805a73cbbde764ed8341f7e09915b5e7b370f9c08a743fbd",
        ),
    ] {
        let hob = td_hob(&tdvf, &ram).unwrap();
        let measured = &hob[..hob.len() - END_HOB_LEN];
        assert_eq!(measured.len(), len);
        assert_eq!(hex::encode(Sha384::digest(measured)), want);
    }
}
