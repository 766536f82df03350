//! The trace of a launch: the same as its dry run's, and what an outside observer of the real program sees.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cloister_rig::firmware_images;
use cloister_tests::{Run, cloister, kernels};
use serde_json::{Map, Value};
use tempfile::TempDir;

/// A kernel for PVH that does nothing but reset the machine, which ends a run with `--no-reboot`.
fn kernel(dir: &Path) -> PathBuf {
    const ENTRY: u32 = 0x10_0000;
    // mov dx, 0xcf9; mov al, 6; out dx, al; hlt; jmp back to the hlt
    let code = [0x66, 0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee, 0xf4, 0xeb, 0xfd];
    // XEN_ELFNOTE_PHYS32_ENTRY: name and value of four bytes each
    let note = [4, 4, 18, u32::from_le_bytes(*b"Xen\0"), ENTRY];
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    elf.extend([2u16, 62].iter().flat_map(|n| n.to_le_bytes())); // an executable, for x86-64
    elf.extend(1u32.to_le_bytes());
    elf.extend([u64::from(ENTRY), 64, 0].iter().flat_map(|n| n.to_le_bytes())); // entry, headers, no sections
    elf.extend(0u32.to_le_bytes());
    elf.extend([64u16, 56, 2, 64, 0, 0].iter().flat_map(|n| n.to_le_bytes()));
    let place = u64::from(ENTRY);
    for (kind, flags, offset, address, size) in
        [(1u32, 5u32, 0x1000u64, place, code.len() as u64), (4, 4, 0x800, 0, 4 * note.len() as u64)]
    {
        elf.extend([kind, flags].iter().flat_map(|n| n.to_le_bytes()));
        elf.extend([offset, address, address, size, size, 4].iter().flat_map(|n| n.to_le_bytes()));
    }
    elf.resize(0x800, 0);
    elf.extend(note.iter().flat_map(|n| n.to_le_bytes()));
    elf.resize(0x1000, 0);
    elf.extend(code);
    let path = dir.join("vmlinux");
    std::fs::write(&path, elf).expect("writing the kernel");
    path
}

fn arguments(dir: &Path, platform: &str, trace: &Path) -> Vec<String> {
    let kernel = kernel(dir);
    let text = |p: &Path| p.to_str().expect("a UTF-8 path").to_owned();
    let flags = ["--memory", "64M", "--cpus", "2", "--no-reboot", "--console", "off", "--coco", platform];
    let files = ["run".to_owned(), "--kernel".into(), text(&kernel), "--trace-launch".into(), text(trace)];
    files.into_iter().chain(flags.map(String::from)).collect()
}

fn read(trace: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(trace).expect("the trace");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON, a line each")).collect()
}

/// What differs from host to host and from run to run: addresses, descriptors, what KVM told us and what of
/// that is told to vCPUs, and the host data of the demo, which is its broker's.
fn comparable(line: &Value) -> Value {
    fn strip(map: &mut Map<String, Value>) {
        let host =
            ["userspace_addr", "uaddr", "guest_memfd", "entries", "nent", "apic_base", "cr8", "host_data"];
        host.iter().for_each(|key| drop(map.remove(*key)));
        if map.get("type_name").is_some_and(|name| name == "CPUID") {
            map.remove("sha256");
        }
        map.values_mut().filter_map(Value::as_object_mut).for_each(strip);
    }
    let mut line = line.as_object().expect("an object").clone();
    let msrs = line["ioctl"] == "KVM_SET_MSRS";
    ["result", "after"].iter().for_each(|key| drop(line.remove(*key)));
    if !msrs {
        strip(&mut line);
    }
    line.into()
}

/// Runs `cloister` with these arguments, which end a real run with `code`, really and dry; the real trace.
fn same_as_dry(code: i32, arguments: impl Fn(&Path, &Path) -> Vec<String>) -> Vec<Value> {
    let dir = TempDir::new().expect("a directory");
    let (real, dry) = (dir.path().join("real"), dir.path().join("dry"));
    let run = Run::of(arguments(dir.path(), &real));
    run.code(code);
    run.expect(
        [&*run.stdout, &*run.stderr].concat().contains("ioctls written down"),
        "nothing is said of the trace",
    );
    let mut dry_run = arguments(dir.path(), &dry);
    dry_run.push("--dry-run".into());
    let run = Run::of(dry_run);
    run.code(0);
    run.expect(
        [&*run.stdout, &*run.stderr].concat().contains("nothing was launched"),
        "it does not say that it was dry",
    );
    let (real, dry) = (read(&real), read(&dry));
    let part = |all: &[Value]| all.iter().map(comparable).collect::<Vec<_>>();
    for (real, dry) in part(&real).iter().zip(part(&dry)) {
        assert_eq!(*real, dry);
    }
    assert_eq!(real.len(), dry.len());
    assert!(real.iter().all(|line| line["errno"].is_null()), "a step failed");
    real
}

fn commands(trace: &[Value]) -> usize {
    trace.iter().filter(|line| line["fd"] == "simulator").count()
}

#[test]
fn a_plain_launch_is_the_launch_of_its_dry_run() {
    let trace = same_as_dry(5, |dir, trace| arguments(dir, "off", trace));
    assert_eq!(commands(&trace), 0);
}

#[test]
fn a_simulated_launch_is_the_launch_of_its_dry_run() {
    let trace = same_as_dry(5, |dir, trace| arguments(dir, "sim", trace));
    assert!(commands(&trace) > 3);
}

/// With guest_memfd and attributes of a real KVM. The demo's guest is the one that can be launched there.
#[test]
fn a_protected_launch_is_the_launch_of_its_dry_run() {
    let payload = std::env::var("CLOISTER_PAYLOAD").expect("CLOISTER_PAYLOAD names the demo's guest");
    let trace = same_as_dry(0, |_, trace| {
        let trace = trace.to_str().expect("a UTF-8 path");
        ["demo", "--coco", "protected", "--payload", &payload, "--trace-launch", trace]
            .map(String::from)
            .into()
    });
    assert!(commands(&trace) > 3);
    let private = |line: &&Value| line["args"]["attributes"] == "0x8";
    assert!(trace.iter().filter(private).count() > 0, "memory was turned private");
}

/// One ioctl as strace tells it: descriptor, request, what it returned.
fn observed(line: &str) -> Option<(i64, u64, i64)> {
    let call = line.split_once("ioctl(")?.1;
    let (fd, rest) = call.split_once(", ")?;
    let request = rest.split([',', ')', ' ']).next()?.strip_prefix("0x")?;
    let result = line.rsplit_once(" = ")?.1.split(' ').next()?;
    Some((fd.parse().ok()?, u64::from_str_radix(request, 16).ok()?, result.parse().ok()?))
}

/// What is no part of a launch: the size of the page that a vCPU shares with us (asked for where it is
/// mapped); interrupts and doorbells of devices; the guest itself.
fn is_other(request: u64) -> bool {
    /// KVM_GET_VCPU_MMAP_SIZE, KVM_IRQFD, KVM_IOEVENTFD, KVM_SET_GSI_ROUTING, KVM_SIGNAL_MSI, KVM_RUN
    const OTHERS: [u64; 6] = [0xae04, 0x4020_ae76, 0x4040_ae79, 0x4008_ae6a, 0x4020_aea5, 0xae80];
    OTHERS.contains(&request)
}

#[test]
fn the_trace_is_what_an_outside_observer_sees() {
    let dir = TempDir::new().expect("a directory");
    let (trace, seen) = (dir.path().join("trace"), dir.path().join("strace"));
    let run = Command::new("strace")
        .args(["-f", "-e", "trace=ioctl", "-X", "raw", "-o"])
        .arg(&seen)
        .arg(cloister())
        .args(arguments(dir.path(), "sim", &trace))
        .stdin(Stdio::null())
        .output()
        .expect("strace; `cargo xtask test` installs it");
    assert_eq!(run.status.code(), Some(5), "{}", String::from_utf8_lossy(&run.stderr));

    let text = std::fs::read_to_string(&seen).expect("what strace saw");
    let all: Vec<_> =
        text.lines().filter_map(observed).filter(|(_, request, _)| request >> 8 & 0xff == 0xae).collect();
    // The last question for the version begins the launch; what comes before looks at the host.
    let begin = all.iter().rposition(|(_, request, _)| *request == 0xae00).expect("a launch");
    let mut names = vec![(all[begin].0, "kvm".to_owned())];
    let mut by_observer = Vec::new();
    for (fd, request, result) in &all[begin..] {
        match request {
            0xae01 => names.push((*result, "vm".into())),
            0xae41 => names.push((*result, format!("vcpu{}", names.len() - 2))),
            _ => {}
        }
        if !is_other(*request) {
            let name = names.iter().find(|(known, _)| known == fd).map(|(_, name)| name.clone());
            by_observer.push((name.expect("a descriptor that the launch made"), *request, *result));
        }
    }
    let by_trace: Vec<_> = read(&trace)
        .iter()
        .filter(|line| line["fd"] != "simulator")
        .map(|line| {
            let request = line["request"].as_str().and_then(|s| s.strip_prefix("0x")).expect("a number");
            let request = u64::from_str_radix(request, 16).expect("a number");
            let name = line["fd"].as_str().expect("a name").to_owned();
            (name, request, line["result"].as_i64().expect("no step failed"))
        })
        .collect();
    assert!(by_trace.len() > 20, "{}", by_trace.len());
    assert_eq!(by_trace, by_observer);
}

/// Stock firmware with a kernel, on hardware that is not there: what was predicted is what arrives.
#[test]
fn launches_on_hardware_can_be_run_dry_without_it() {
    let dir = TempDir::new().expect("a directory");
    let seen = dir.path().join("strace");
    let images = firmware_images().expect("OVMF; `cargo xtask test` fetches it");
    for (platform, image, finish) in [
        ("snp", "OVMF.amdsev.fd", "KVM_SEV_SNP_LAUNCH_FINISH"),
        ("tdx", "OVMF.inteltdx.ms.fd", "KVM_TDX_FINALIZE_VM"),
    ] {
        let trace = dir.path().join(platform);
        let text = |p: &Path| p.to_str().expect("a UTF-8 path").to_owned();
        let mut run = Command::new("strace");
        run.args(["-f", "-e", "trace=open,openat,ioctl", "-X", "raw", "-o"]).arg(&seen).arg(cloister());
        run.args(["run", "--dry-run", "--coco", platform, "--cpus", "3", "--memory", "3G"]);
        run.args(["--firmware", &text(&images.join(image))]);
        run.args(["--kernel", &text(&kernels()[0].bzimage), "--cmdline", "console=ttyS0"]);
        run.args(["--trace-launch", &text(&trace)]);
        if platform == "snp" {
            run.args(["--cpu-model", "EPYC-Milan"]);
        }
        let output = run.stdin(Stdio::null()).output().expect("strace");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("which is the same as predicted"), "{said}");
        assert!(said.contains("nothing was launched"), "{said}");
        let lines = read(&trace);
        assert_eq!(lines.last().expect("a launch")["command"], finish);
        assert!(lines.iter().all(|line| line["errno"].is_null()), "a step failed");
        // Nothing of the host's was opened or asked.
        let seen = std::fs::read_to_string(&seen).expect("what strace saw");
        assert!(seen.contains(image), "strace saw nothing");
        assert!(!seen.contains("/dev/kvm") && !seen.contains("/dev/sev"), "{seen}");
        assert!(
            !seen.lines().filter_map(observed).any(|(_, request, _)| request >> 8 & 0xff == 0xae),
            "{seen}"
        );
    }
}
