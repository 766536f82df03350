//! Stock OVMF boots on the board, from a disk and through fw_cfg; the build that checks kernels does so.

use std::os::unix::fs::FileExt;
use std::path::Path;

use cloister_tests::{Guest, Run, Started, boot_disk, ovmf, ovmf_amdsev};

const CMDLINE: &str = "console=ttyS0 quiet panic=-1";
const SCRIPT: &str = "\
echo efi $(ls -d /sys/firmware/efi)
echo cpus $(grep -c ^processor /proc/cpuinfo)
echo product $(cat /sys/class/dmi/id/product_name)
echo disk $(cat /sys/block/vda/size) $(cat /sys/block/vda/ro) $(head -c 512 /dev/vda | wc -c)
echo cmdline $(cat /proc/cmdline)
";

fn args(firmware: &Path, more: &[&str]) -> Vec<String> {
    let firmware = firmware.to_str().unwrap();
    let fixed = ["run", "--firmware", firmware, "--coco", "off", "--memory", "256M"];
    fixed.iter().chain(more).map(|s| (*s).to_owned()).collect()
}

fn with_kernel(guest: &Guest, mut args: Vec<String>) -> Vec<String> {
    args.extend(guest.flags());
    args.extend(["--cmdline".into(), CMDLINE.into()]);
    args
}

#[test]
fn from_a_disk() {
    let guest = Guest::running(SCRIPT);
    let disk = boot_disk(&guest, CMDLINE);
    let sectors = disk.metadata().unwrap().len() / 512;
    let disk = format!("path={},readonly=on", disk.display());
    Run::of(args(&ovmf(), &["--disk", &disk]))
        .code(0)
        .said("efi /sys/firmware/efi")
        .said("product Confidential virtual machine")
        .said(&format!("disk {sectors} 1 512"))
        .said(&format!("cmdline {CMDLINE}"))
        .told("switched itself off");
}

#[test]
fn a_kernel_through_fw_cfg_on_two_cpus() {
    let guest = Guest::running(SCRIPT);
    Run::of(with_kernel(&guest, args(&ovmf(), &["--cpus", "2"])))
        .code(0)
        .said("efi /sys/firmware/efi")
        .said("cpus 2\n")
        .said(&format!("{CMDLINE}\n"));
}

/// The first life has the kernel that was launched. Then the file changes, and the second life, launched
/// from the same plan, gets another one.
#[test]
fn the_kernel_that_was_launched_is_accepted_and_another_refused() {
    let mut guest = Guest::running("echo accepted; sleep 5; reboot -f");
    let kernel = guest.path("vmlinuz");
    std::fs::copy(&guest.kernel, &kernel).unwrap();
    guest.kernel = kernel;
    let mut run = Started::new(with_kernel(&guest, args(&ovmf_amdsev(), &[])));
    run.wait_for("accepted");
    let file = std::fs::File::options().write(true).open(&guest.kernel).unwrap();
    file.write_all_at(b"changed", file.metadata().unwrap().len() / 2).unwrap();
    let run = run.end();
    run.code(7)
        .told("built anew")
        .told("it refuses the kernel")
        .told("SHA-256 in the hash table")
        .told("SHA-256 of what it got");
    run.expect(run.stdout.matches("accepted").count() == 1, "the other kernel ran");
}

/// The very pages of an SNP launch, in their order, and they boot: what the platform's firmware would hash
/// is hashed beneath, and is what was predicted.
#[test]
fn launched_as_for_snp_on_the_simulator() {
    let guest = Guest::running(SCRIPT);
    let mut args = args(&ovmf_amdsev(), &["--console", "stdio", "--cpus", "2"]);
    args.iter_mut().filter(|a| *a == "off").for_each(|a| *a = "sim".into());
    Run::of(with_kernel(&guest, args))
        .code(0)
        .said("efi /sys/firmware/efi")
        .said("cpus 2\n")
        .said(&format!("{CMDLINE}\n"))
        .told("secrets page")
        .told("launch digest, computed below");
}
