//! AMD SEV-SNP.
#![allow(unsafe_code, reason = "CPUID is an intrinsic")]

use std::fmt::Write;

use crate::lane::{Lane, predicted, said, setting, text};

const SNP: Lane = Lane { name: "snp", firmware: "OVMF.amdsev.fd" };

/// Asks the secure processor for a report by way of configfs, and says the fields that are checked: offsets
/// of ATTESTATION_REPORT (SEV-SNP firmware ABI, table 23): version, policy, measurement, host data.
const REPORT: &str = r#"
entry=/sys/kernel/config/tsm/report/lane
mkdir $entry || echo "NO REPORTS"
dd if=/dev/zero bs=64 count=1 of=$entry/inblob 2>/dev/null
cat $entry/outblob >/tmp/report
field() { dd if=/tmp/report bs=1 skip=$1 count=$2 2>/dev/null | hexdump -ve '/1 "%02x"'; }
echo "PROVIDER $(cat $entry/provider)"
echo "VERSION $(field 0 4)"
echo "POLICY $(field 8 8)"
echo "HOST_DATA $(field 192 32)"
echo "MEASUREMENT $(field 144 48)"
"#;

/// This host's CPU signature, as `--cpu-sig` takes it: CPUID leaf 1, EAX.
fn signature() -> String {
    // SAFETY: every x86-64 processor has the instruction.
    #[allow(unused_unsafe, reason = "newer compilers know that it is safe")]
    let leaf = unsafe { std::arch::x86_64::__cpuid(1) };
    format!("{:#x}", leaf.eax)
}

#[test]
fn host_is_ready() {
    SNP.host_is_ready();
}

#[test]
fn report_says_what_was_predicted() {
    let guest = SNP.guest(REPORT);
    let run = SNP.run(&guest, &[]);
    run.code(0);
    assert_eq!(said(&run, "PROVIDER "), "sev_guest");
    assert_eq!(said(&run, "MEASUREMENT "), predicted(&run));
    // 0x30000, little-endian: the default, without debug.
    assert_eq!(said(&run, "POLICY "), "0000030000000000");
}

#[test]
fn report_says_the_host_data_that_was_given() {
    let guest = SNP.guest(REPORT);
    let data = "5a".repeat(32);
    let mut args = SNP.args(&guest);
    let coco = args.iter_mut().find(|arg| *arg == "snp").expect("the platform");
    *coco = format!("snp,host-data={data}");
    let run = cloister_tests::Run::of(args);
    run.code(0);
    assert_eq!(said(&run, "HOST_DATA "), data);
}

#[test]
fn another_command_line_is_another_measurement() {
    let guest = SNP.guest(REPORT);
    let run = SNP.run(&guest, &[]);
    let mut args = SNP.args(&guest);
    let cmdline = args.iter_mut().find(|arg| arg.starts_with("console=")).expect("the command line");
    cmdline.push_str(" another");
    let other = cloister_tests::Run::of(args);
    assert_eq!(said(other.code(0), "MEASUREMENT "), predicted(&other));
    assert_ne!(said(run.code(0), "MEASUREMENT "), said(&other, "MEASUREMENT "));
}

/// The whole dance: challenge, evidence with certificates of this chip, verdict, secret.
#[test]
fn guest_gets_its_secret() {
    let certs = setting("CLOISTER_CERTS").expect(
        "CLOISTER_CERTS names a directory with this chip's vcek, ask and ark (.der or .pem); \
         `snphost fetch vcek der DIR` and `snphost fetch ca der DIR` get them",
    );
    let script =
        "cloister-agent --secret disk-key --out /secret\necho agent ended with $?\nsha256sum /secret\n";
    let guest = SNP.guest(script);
    let vsock = guest.vsock();
    let shared = ["--vsock", &vsock, "--certs", &certs];
    let signature = signature();
    let print = SNP.run(&guest, &[&shared[..], &["--cpu-sig", &signature, "--print-policy"]].concat());
    let mut policy = print.code(0).stdout.clone();
    assert!(policy.contains("allow-sim = false"), "{policy}");
    let _ = write!(policy, "\n[secrets.disk-key]\ntext = \"open sesame\"\n");
    let path = guest.path("policy.toml");
    std::fs::write(&path, policy).expect("writing the policy");
    let run = SNP.run(&guest, &[&shared[..], &["--attest", &text(path)]].concat());
    run.code(0).said("agent ended with 0").told("confirmed");
    // printf 'open sesame' | sha256sum
    run.said("41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb");
}

#[test]
fn launch_is_the_one_of_its_dry_run() {
    // A dry run looks at no host, and every vCPU starts with its signature.
    SNP.launches_as_its_dry_run(&["--cpu-sig", &signature()]);
}

#[test]
fn conversions_are_counted_and_none_is_refused() {
    SNP.counts_conversions();
}

#[test]
fn guest_comes_back_from_a_reset() {
    SNP.comes_back_from_a_reset(REPORT, "MEASUREMENT ");
}
