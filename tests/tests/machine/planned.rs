//! Guests of SNP and TDX, planned and launched dry with Debian's firmware: what they measure to is what
//! others computed. No KVM is asked.

use std::path::{Path, PathBuf};

use cloister_rig::{firmware_images, guest_kernels};
use cloister_tests::Run;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Values that sev-snp-measure and a script of its own computed (tests/vectors/measure/README.md).
fn vectors() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/measure/vectors.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// One of Debian's images, if it is the one that the vectors are about.
fn firmware(name: &str, vectors: &Value) -> PathBuf {
    let path = firmware_images().expect("OVMF; `cargo xtask test` fetches it").join(name);
    let found = hex::encode(Sha256::digest(std::fs::read(&path).unwrap()));
    let want = vectors["firmware"][format!("firmware/{name}")].as_str().unwrap();
    assert_eq!(found, want, "Debian has another {name} than the vectors are about");
    path
}

fn dry_run(args: &[&str]) -> Run {
    Run::of([&["run", "--dry-run"], args].concat())
}

#[test]
fn snp_guests_measure_to_what_sev_snp_measure_says() {
    let vectors = vectors();
    let firmware = firmware("OVMF.amdsev.fd", &vectors);
    let kernel = guest_kernels().unwrap().iter().map(|k| k.dir.join("vmlinuz")).find(|path| {
        let found = hex::encode(Sha256::digest(std::fs::read(path).unwrap()));
        vectors["blobs"]["debian:vmlinuz-6.12.107+deb13-cloud-amd64"] == found.as_str()
    });
    let (mut plain, mut with_kernel) = (0, 0);
    for row in vectors["snp_debian_amdsev"].as_array().unwrap() {
        let text = |key: &str| row[key].as_str();
        let kernel = match text("kernel") {
            None => None,
            Some(name) if name.starts_with("debian:") && kernel.is_some() => kernel.as_deref(),
            // Stand-ins that are no kernels, which this launcher would not hand to any firmware.
            Some(_) => continue,
        };
        if text("vmm") != Some("QEMU") {
            continue;
        }
        let coco = format!("snp,vmsa-features={}", text("guest_features").unwrap());
        let cpus = row["vcpus"].to_string();
        let mut args = vec!["--firmware", firmware.to_str().unwrap(), "--coco", &coco, "--cpus", &cpus];
        args.extend(["--cpu-model", text("vcpu_type").unwrap()]);
        if let Some(kernel) = kernel {
            args.extend(["--kernel", kernel.to_str().unwrap()]);
            args.extend(text("append").iter().flat_map(|append| ["--cmdline", append]));
            with_kernel += 1;
        } else {
            plain += 1;
        }
        let digest = text("digest").unwrap();
        dry_run(&args)
            .code(0)
            .told(&format!("predicted launch digest {digest}"))
            .told(&format!("computed beneath {digest}"));
    }
    // Debian's kernel moves on, and the vector does not; the firmware's rows are always there.
    assert_eq!(plain, 12);
    println!("{plain} rows without a kernel, {with_kernel} with Debian's");
}

#[test]
fn a_td_measures_to_what_its_firmware_alone_does() {
    let vectors = vectors();
    let firmware = firmware("OVMF.inteltdx.ms.fd", &vectors);
    let kernels = guest_kernels().unwrap();
    let kernel = kernels[0].dir.join("vmlinuz");
    let rows = vectors["mrtd"].as_array().unwrap();
    let row = rows.iter().find(|r| r["file"] == "firmware/OVMF.inteltdx.ms.fd").unwrap();
    let mrtd = row["mrtd_single_pass"].as_str().unwrap();
    let args = ["--firmware", firmware.to_str().unwrap(), "--coco", "tdx", "--cpus", "2"];
    for more in [&[][..], &["--kernel", kernel.to_str().unwrap(), "--memory", "3G"]] {
        dry_run(&[&args, more].concat())
            .code(0)
            .told(&format!("predicted launch digest {mrtd}"))
            .told(&format!("computed beneath {mrtd}"));
    }
}
