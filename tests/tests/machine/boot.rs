//! Unmodified Linux kernels boot to user space.

use cloister_tests::{Guest, Image, Run, kernels};

const SCRIPT: &str = "\
echo cpus $(grep -c ^processor /proc/cpuinfo)
echo memory $(awk '/MemTotal/ {print $2}' /proc/meminfo)
for d in /sys/bus/pci/devices/*; do echo pci $(cat $d/vendor) $(cat $d/device) $(ls -d $d/driver 2>/dev/null | wc -l); done
echo random $(head -c 16 /dev/hwrng | wc -c)
echo clock $(date -u +%Y)
dmesg | grep -E 'ACPI.*Error|cut here|BUG:|Oops' | sed 's/^/complaint: /' | head -20
";

fn boots(kernel: usize, image: Image, cpus: u32) {
    let guest = Guest::new(&kernels()[kernel], image, SCRIPT);
    let cpus = cpus.to_string();
    let mut args = vec!["run".to_owned()];
    args.extend(guest.flags());
    args.extend(["--memory", "512M", "--cpus", &cpus, "--coco", "off"].map(String::from));
    args.extend(["--cmdline".into(), "console=ttyS0 quiet panic=-1".into()]);
    args.extend(["--vsock".into(), guest.vsock()]);
    let run = Run::of(args);
    run.code(0)
        .said(&format!("init: up, Linux {}", guest.version))
        .said(&format!("cpus {cpus}\n"))
        .said("pci 0x1af4 0x1053 1") // virtio-vsock, with its driver
        .said("pci 0x1af4 0x1044 1") // virtio-rng, with its driver
        .said("random 16")
        .said("clock 20")
        .said("init: the script ended with");
    run.expect(!run.stdout.contains("complaint:"), "the kernel complained");
}

#[test]
fn linux_6_12_as_bzimage_on_one_cpu() {
    boots(0, Image::BzImage, 1);
}

#[test]
fn linux_6_12_by_pvh_on_two_cpus() {
    boots(0, Image::Vmlinux, 2);
}

#[test]
fn newest_linux_as_bzimage_on_two_cpus() {
    boots(1, Image::BzImage, 2);
}

#[test]
fn newest_linux_by_pvh_on_one_cpu() {
    boots(1, Image::Vmlinux, 1);
}

/// Found before anything is created. (A guest with memory above 4 GiB needs a larger rig than there is.)
#[test]
fn more_memory_than_the_host_has_is_refused() {
    let guest = Guest::running(SCRIPT);
    let mut args = vec!["run".to_owned()];
    args.extend(guest.flags());
    args.extend(["--coco", "off", "--memory", "30T", "--cmdline", "console=ttyS0"].map(String::from));
    // No test machine has this much; the refusal names what there is.
    Run::of(args).code(2).told("this host has");
}
