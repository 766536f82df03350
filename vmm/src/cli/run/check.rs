//! What was asked for, checked as far as it can be before anything is created.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use cloister_coco::launch::PlatformKind;
use cloister_devices::virtio::dev::blk::Disk;

use crate::cli::attest::{self, Policy};
use crate::config::{CocoSpec, ConsoleSpec, DiskSpec, FileSpec, Size, VmSpec, VsockSpec};
use crate::kvm::Host;
use crate::refusal::Refusal;

/// A specification with its defaults filled in and its mistakes found.
pub(super) struct Checked {
    /// There is firmware, a kernel, or both.
    pub(super) firmware: Option<PathBuf>,
    pub(super) kernel: Option<PathBuf>,
    pub(super) initrd: Option<PathBuf>,
    pub(super) cmdline: String,
    pub(super) memory: u64,
    pub(super) cpus: u32,
    pub(super) vsock: Option<VsockSpec>,
    pub(super) disks: Vec<Disk>,
    pub(super) debug_console: Option<PathBuf>,
    pub(super) coco: CocoSpec,
    pub(super) require_coco: bool,
    pub(super) no_reboot: bool,
    pub(super) policy: Option<Policy>,
    console: Option<ConsoleSpec>,
}

/// 8-bit APIC ids, of which 255 is the broadcast.
const MAX_CPUS: u32 = 254;
/// CIDs 0 to 2 are the hypervisor, loopback and host; all ones means any (virtio 1.3, 5.10.4).
const FIRST_CID: u32 = 3;
/// Longest path of a Unix socket (`sun_path` of unix(7), with its NUL), less room for `_4226`.
const SOCKET_PATH_MAX: usize = 107 - 11;

impl Checked {
    pub(super) fn new(spec: VmSpec) -> Result<Self, Refusal> {
        check_boot(&spec)?;
        let Size(memory) = spec.memory.unwrap_or(Size(512 << 20));
        let cpus = spec.cpus.unwrap_or(1);
        check_cpus(cpus)?;
        check_memory(memory)?;
        if let Some(vsock) = &spec.vsock {
            check_vsock(vsock)?;
        }
        let disks = spec.disk.unwrap_or_default();
        let disks = disks.iter().map(check_disk).collect::<Result<_, _>>()?;
        let policy = match (&spec.attest, &spec.vsock) {
            (Some(_), None) => {
                return Err(Refusal::new(
                    "--attest without --vsock",
                    "the guest reaches the broker over its vsock device, and it has none",
                    "add --vsock cid=3,path=vm.sock",
                ));
            }
            (Some(path), Some(vsock)) => {
                check_free(&attest::broker_path(&vsock.path))?;
                Some(attest::read_policy(path)?)
            }
            (None, _) => None,
        };
        Ok(Checked {
            firmware: spec.firmware,
            kernel: spec.kernel,
            initrd: spec.initrd,
            cmdline: spec.cmdline.unwrap_or_default(),
            memory,
            cpus,
            vsock: spec.vsock,
            disks,
            debug_console: spec.debug_console.map(|FileSpec(path)| path),
            coco: spec.coco.unwrap_or(CocoSpec::Auto),
            require_coco: spec.require_coco.unwrap_or(false),
            no_reboot: spec.no_reboot.unwrap_or(false),
            policy,
            console: spec.console,
        })
    }

    /// What depends on the host's KVM.
    pub(super) fn check_host(&self, host: &Host) -> Result<(), Refusal> {
        let most = host.kvm.get_max_vcpus();
        if self.cpus as usize > most {
            return Err(Refusal::new(
                format_args!("cannot give the guest {} vCPUs", self.cpus),
                format_args!("this host's KVM allows {most}"),
                format_args!("ask for at most {most}: --cpus {most}"),
            ));
        }
        Ok(())
    }

    /// Where the serial console goes on a platform. A confidential guest's output is not for the host
    /// to see, unless it was asked for.
    pub(super) fn console(&self, kind: PlatformKind) -> ConsoleSpec {
        match (&self.console, kind) {
            (Some(console), _) => console.clone(),
            (None, PlatformKind::Off) => ConsoleSpec::Stdio,
            (None, _) => ConsoleSpec::Off,
        }
    }
}

/// Whether there is something to boot, and somebody to take what comes with it.
fn check_boot(spec: &VmSpec) -> Result<(), Refusal> {
    if spec.kernel.is_some() {
        return Ok(());
    }
    if spec.firmware.is_none() {
        return Err(Refusal::new(
            "no kernel to boot",
            "neither --kernel nor --firmware, nor the configuration, names anything",
            "give a bzImage or an uncompressed ELF: --kernel vmlinuz",
        ));
    }
    for (flag, given) in [("--initrd", spec.initrd.is_some()), ("--cmdline", spec.cmdline.is_some())] {
        if given {
            return Err(Refusal::new(
                format_args!("{flag} without --kernel"),
                "firmware that boots from a disk takes both from there",
                "add --kernel vmlinuz, or leave it away",
            ));
        }
    }
    Ok(())
}

fn check_disk(disk: &DiskSpec) -> Result<Disk, Refusal> {
    let what = format!("cannot use the disk {}", disk.path.display());
    if !disk.readonly {
        return Err(Refusal::new(
            what,
            "this version cannot write to disks, and the guest would expect to",
            "add readonly=on",
        ));
    }
    Disk::open_read_only(&disk.path).map_err(|e| Refusal::new(what, e, "give the path of a raw disk image"))
}

fn check_cpus(cpus: u32) -> Result<(), Refusal> {
    if (1..=MAX_CPUS).contains(&cpus) {
        return Ok(());
    }
    Err(Refusal::new(
        format_args!("cannot give the guest {cpus} vCPUs"),
        format_args!("a guest has between 1 and {MAX_CPUS}"),
        "choose a number in between: --cpus 2",
    ))
}

fn check_memory(memory: u64) -> Result<(), Refusal> {
    let what = format!("cannot give the guest {} MiB of memory", memory >> 20);
    if memory == 0 {
        return Err(Refusal::new(what, "a guest without memory cannot boot", "give it some: --memory 512M"));
    }
    match host_memory() {
        Some(total) if memory > total => Err(Refusal::new(
            what,
            format_args!("this host has {} MiB in all", total >> 20),
            "ask for less: --memory 512M",
        )),
        _ => Ok(()),
    }
}

/// MemTotal of /proc/meminfo, in bytes.
fn host_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn check_vsock(vsock: &VsockSpec) -> Result<(), Refusal> {
    if vsock.cid < FIRST_CID || vsock.cid == u32::MAX {
        return Err(Refusal::new(
            format_args!("cannot give the guest vsock CID {}", vsock.cid),
            "0 to 2 are the hypervisor, loopback and the host, 4294967295 means any",
            "choose one from 3 up: --vsock cid=3,path=vm.sock",
        ));
    }
    if vsock.path.as_os_str().len() > SOCKET_PATH_MAX {
        return Err(Refusal::new(
            format_args!("the vsock path {} is too long", vsock.path.display()),
            format_args!("the path of a Unix socket has at most 107 bytes, and `_PORT` is appended"),
            "choose a shorter path, or run in another directory",
        ));
    }
    check_free(&vsock.path)
}

/// Whether a socket can be made at `path`. A stale socket that nobody listens at is in the way too, but
/// the remedy is another.
fn check_free(path: &Path) -> Result<(), Refusal> {
    let what = format!("cannot make the socket {}", path.display());
    if path.symlink_metadata().is_ok() {
        let (why, remedy) = match UnixStream::connect(path) {
            Ok(_) => ("another process listens there", "choose another path, or end that process"),
            Err(_) => (
                "the path is in use: a file is there already",
                "remove it if it is a leftover, or choose another path",
            ),
        };
        return Err(Refusal::new(what, why, remedy));
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        return Err(Refusal::new(
            what,
            format_args!("{} is not a directory", parent.display()),
            "make it first, or choose another path",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(f: impl FnOnce(&mut VmSpec)) -> Result<Checked, Refusal> {
        let mut spec = VmSpec { kernel: Some("k".into()), ..VmSpec::default() };
        f(&mut spec);
        Checked::new(spec)
    }

    fn refusal(f: impl FnOnce(&mut VmSpec)) -> String {
        let text = spec(f).err().expect("refused").to_string();
        assert_eq!(text.lines().count(), 3, "{text}");
        text
    }

    fn disk(text: &str) -> Option<Vec<DiskSpec>> {
        Some(vec![text.parse().unwrap()])
    }

    #[test]
    fn firmware_needs_no_kernel_but_what_comes_with_a_kernel_does() {
        let firmware = |s: &mut VmSpec| (s.kernel, s.firmware) = (None, Some("f".into()));
        assert!(spec(firmware).is_ok());
        assert!(spec(|s| s.firmware = Some("f".into())).is_ok());
        let initrd = |s: &mut VmSpec| (firmware(s), s.initrd = Some("i".into())).1;
        assert!(refusal(initrd).contains("--initrd without --kernel"));
        let cmdline = |s: &mut VmSpec| (firmware(s), s.cmdline = Some(String::new())).1;
        assert!(refusal(cmdline).contains("--cmdline without --kernel"));
    }

    #[test]
    fn mistakes_are_found_before_anything_is_made() {
        assert!(spec(|_| ()).is_ok());
        assert!(refusal(|s| s.kernel = None).contains("no kernel"));
        assert!(refusal(|s| s.cpus = Some(0)).contains("between 1 and 254"));
        assert!(refusal(|s| s.cpus = Some(255)).contains("between 1 and 254"));
        assert!(refusal(|s| s.memory = Some(Size(0))).contains("without memory"));
        assert!(refusal(|s| s.memory = Some(Size(1 << 50))).contains("this host has"));
        assert!(refusal(|s| s.attest = Some("p".into())).contains("--attest without --vsock"));
        assert!(refusal(|s| s.disk = disk("path=/dev/null,readonly=on")).contains("neither a regular"));
        assert!(refusal(|s| s.disk = disk("path=d")).contains("add readonly=on"));
        let vsock = |cid, path: &str| VsockSpec { cid, path: path.into() };
        assert!(refusal(|s| s.vsock = Some(vsock(2, "x"))).contains("CID 2"));
        assert!(refusal(|s| s.vsock = Some(vsock(3, &"x".repeat(120)))).contains("too long"));
        assert!(refusal(|s| s.vsock = Some(vsock(3, "/nonexistent/x"))).contains("not a directory"));
    }

    #[test]
    fn a_socket_path_in_use_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vm.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let vsock = || Some(VsockSpec { cid: 3, path: path.clone() });
        assert!(refusal(|s| s.vsock = vsock()).contains("another process listens"));
        drop(listener);
        assert!(refusal(|s| s.vsock = vsock()).contains("leftover"));
    }

    #[test]
    fn a_confidential_guest_has_no_console_unless_asked_for() {
        let checked = spec(|_| ()).unwrap_or_else(|r| panic!("{r}"));
        assert_eq!(checked.console(PlatformKind::Sim), ConsoleSpec::Off);
        assert_eq!(checked.console(PlatformKind::Off), ConsoleSpec::Stdio);
        let asked = spec(|s| s.console = Some(ConsoleSpec::Stdio)).unwrap_or_else(|r| panic!("{r}"));
        assert_eq!(asked.console(PlatformKind::Sim), ConsoleSpec::Stdio);
    }
}
