use std::path::{Path, PathBuf};

use clap::Parser;
use cloister_firmware::measure::Digest384;
use cloister_firmware::plan::Identity;

use super::args::{Counts, Hex, number};
use super::{End, MeasureArgs, Platform, guest, sev, snp, tdx};
use crate::refusal::Refusal;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    measure: MeasureArgs,
}

/// A directory with the last page of an AmdSev OVMF, which is firmware enough, as `fw`, and two blobs.
fn files() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let text = include_str!("../../../../tests/vectors/measure/ovmf_AmdSev_suffix.hex");
    let bytes = hex::decode(text.split_whitespace().collect::<String>()).unwrap();
    let mut other = bytes.clone();
    other[0] ^= 1;
    for (name, bytes) in [("fw", bytes), ("other", other), ("empty", Vec::new()), ("blob", vec![7; 600_000])]
    {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

/// Runs a command line in which @ stands for the directory.
fn measure(dir: &Path, line: &str) -> Result<End, Refusal> {
    let line = line.replace('@', dir.to_str().unwrap());
    let words = ["measure"].into_iter().chain(line.split_whitespace());
    let args = Cli::try_parse_from(words).unwrap_or_else(|e| panic!("{line}: {e}")).measure;
    match args.platform {
        Some(Platform::Snp(args)) => snp::run(&args),
        Some(Platform::Tdx(args)) => tdx::run(&args),
        Some(Platform::Sev(args)) => sev::run(&args),
        Some(Platform::Igvm(_)) => unreachable!(),
        None => guest::run(&args.guest),
    }
}

/// sev-snp-measure, `tests/test_guest.py`: four vCPUs, empty kernel and initrd, features 0x1.
const PUBLISHED: &str =
    "5061fffb019493a903613d56d54b94912a1a2f9e4502385f5c194616753720a92441310ba6c4933de877c36e23046ad5";

#[test]
fn a_published_digest_is_explained_from_the_wrong_inputs() {
    let dir = files();
    let explain = |inputs: &str| {
        measure(dir.path(), &format!("snp --cpu-model EPYC-v4 --explain {PUBLISHED} {inputs}"))
    };
    let right = "--firmware @/fw --cpus 4 --kernel @/empty --initrd @/empty";
    assert_eq!(explain(right).unwrap(), End::Measured);
    let wrong = "--firmware @/other --other-firmware @/fw --cpus 1-2 --kernel @/empty --cmdline quiet --json";
    assert_eq!(explain(wrong).unwrap(), End::Measured);
    let hopeless = "--firmware @/other --cpus 4 --kernel @/empty";
    assert_eq!(explain(hopeless).unwrap(), End::Unexplained);
}

#[test]
fn a_report_is_compared() {
    let dir = files();
    let mut report = vec![0; 1184];
    report[0] = 3;
    report[0x90..0xc0].copy_from_slice(&hex::decode(PUBLISHED).unwrap());
    std::fs::write(dir.path().join("report"), &report).unwrap();
    let inputs = "--firmware @/fw --cpus 1 --kernel @/empty --cpu-sig 0x800f12";
    let diff = |file: &str| measure(dir.path(), &format!("snp {inputs} --diff @/{file}"));
    assert_eq!(diff("report").unwrap(), End::Measured);
    assert_eq!(diff("blob").unwrap_err().to_string().lines().count(), 3);
    let tdx = measure(dir.path(), "tdx --firmware @/fw --diff @/report").unwrap_err().to_string();
    assert!(tdx.contains("cloister measure snp"), "{tdx}");
}

#[test]
fn every_kind_of_output() {
    let dir = files();
    for line in [
        "snp --firmware @/fw --cpus 1-64 --cpu-model EPYC-Milan",
        "snp --firmware @/fw --cpus 2 --cpu-model EPYC-Milan --kernel @/blob --initrd @/blob --json",
        "snp --firmware @/fw --cpus 2 --profile ec2",
        "snp --ovmf @/fw --vcpus 2 --profile gce --kernel /dev/null --append quiet",
        "sev --firmware @/fw",
        "sev --firmware @/fw --es --cpus 2 --cpu-model EPYC --kernel @/blob",
    ] {
        assert_eq!(measure(dir.path(), line).unwrap(), End::Measured, "{line}");
    }
}

#[test]
fn mistakes_have_three_lines() {
    let dir = files();
    for line in [
        "snp --firmware @/none --cpus 1 --cpu-sig 1",
        "snp --kernel @/blob --profile cloister --cpus 1 --cpu-sig 1",
        "snp --firmware @/blob --cpus 1 --cpu-sig 1",
        "snp --firmware @ --cpus 1 --cpu-sig 1",
        "snp --firmware @/fw --cpus 1",
        "snp --firmware @/fw --cpus 300 --cpu-sig 1 --profile cloister",
        "snp --firmware @/fw --cpus 1 --cpu-sig 1 --guest-features 0x20",
        "snp --firmware @/fw --cpus 1 --cpu-sig 1 --kernel @/none",
        "snp --firmware @/fw --cpus 1 --cpu-sig 1 --kernel @",
        "snp --firmware @/fw --cpus 1 --cpu-sig 1 --id-block @/id --id-key @/blob",
        "snp --firmware @/fw --cpus 1-2 --cpu-sig 1 --id-block @/id --id-key @/blob",
        "snp --firmware @/fw --cpus 1 --cpu-sig 1 --svsm @/fw --vars-size 0x1000",
        "snp --firmware @/fw --cpus 1 --cpu-sig 1 --svsm @/fw --vars-size 3",
        "snp --firmware @/fw --cpus 1 --profile gce --svsm @/svsm --vars-size 0x1000",
        "snp --firmware @/fw --cpus 1 --cpu-sig 1 --id-block @/id --id-key @/blob --policy 0x10000",
        "sev --firmware @/fw --es --cpus 1",
        "tdx --firmware @/fw",
        "tdx --firmware @/blob --memory 1",
    ] {
        let refusal = measure(dir.path(), line).unwrap_err().to_string();
        assert_eq!(refusal.lines().count(), 3, "{line}: {refusal}");
    }
}

/// A published test key of virtee/sev-snp-measure (Apache-2.0), `tests/keyfile/id_key_test.pem`.
const KEY: &str = "-----BEGIN EC PRIVATE KEY-----
MIGkAgEBBDDd3NjrPduToA3Y2bU8u+m+wL+icE6wZOiAm5FopHJjHx2a67ZcqhcX
mB/DBwn4WsKgBwYFK4EEACKhZANiAASyD9Ghwr0rZRg6duI5CsgF9tjl4q9yXlqO
k8+H7AKfnUXrMmsEuSvrcU4U+phviposlKC4qzDMdjUmdZRIdokelU/271gmpiMb
ptbX9uv7aM4zDh5ZOU77cICIPdxpNks=
-----END EC PRIVATE KEY-----
";

#[test]
fn an_id_block_is_signed_for_the_digest() {
    let dir = files();
    std::fs::write(dir.path().join("key"), KEY).unwrap();
    let line = "snp --firmware @/fw --cpus 4 --cpu-model EPYC-v4 --kernel @/empty --id-block @/id \
                --id-key @/key --author-key @/key --family-id 000102030405060708090a0b0c0d0e0f --svn 7";
    assert_eq!(measure(dir.path(), line).unwrap(), End::Measured);
    let read = |name: &str| std::fs::read(dir.path().join(PathBuf::from(name))).unwrap();
    let block = read("id");
    assert_eq!(Digest384(block[..48].try_into().unwrap()).to_string(), PUBLISHED);
    assert_eq!((block.len(), block[49], block[84]), (96, 1, 7));
    assert_eq!(block[88..], Identity::DEFAULT_POLICY.to_le_bytes());
    assert_eq!(read("id.auth").len(), 4096);
}

#[test]
fn numbers_of_vcpus() {
    let counts = |s: &str| s.parse::<Counts>();
    assert_eq!(counts("4"), Ok(Counts { first: 4, last: 4, range: false }));
    assert_eq!(counts("1-64"), Ok(Counts { first: 1, last: 64, range: true }));
    for bad in ["", "0", "4-1", "0-3", "-3", "3-", "1-2-3", "four", "99999999999"] {
        assert!(counts(bad).is_err(), "{bad}");
    }
}

#[test]
fn hex_and_numbers() {
    assert_eq!("0102".parse::<Hex<2>>(), Ok(Hex([1, 2])));
    assert!("010203".parse::<Hex<2>>().unwrap_err().contains("3 bytes"));
    assert!("01x2".parse::<Hex<2>>().is_err());
    assert_eq!((number("0x21"), number("33")), (Ok(0x21), Ok(33)));
    assert!(number("0x").is_err() && number("-1").is_err());
}
