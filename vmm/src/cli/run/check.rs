//! What was asked for, checked as far as it can be before anything is created.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use cloister_coco::snp::certs::CertStore;
use cloister_coco::tdx::QuoteServiceAddress;
use cloister_devices::virtio::dev::blk::Disk;

use super::guest::Guest;
use crate::cli::attest::{self, Policy};
use crate::config::{DiskSpec, FileSpec, StatsSpec, VmSpec, VsockSpec};
use crate::kvm::Host;
use crate::refusal::Refusal;

/// A specification with its defaults filled in and its mistakes found, those about this host too.
pub(super) struct Checked {
    pub(super) guest: Guest,
    pub(super) vsock: Option<VsockSpec>,
    pub(super) disks: Vec<Disk>,
    pub(super) debug_console: Option<PathBuf>,
    pub(super) no_reboot: bool,
    pub(super) policy: Option<Policy>,
    /// Where TDs get their quotes.
    pub(super) quote_service: Option<QuoteServiceAddress>,
    /// Certificates for SNP guests, which can be read.
    pub(super) certs: Option<CertStore>,
    /// Give the guest all its memory before it starts.
    pub(super) prefault: bool,
    /// Print counters at the end.
    pub(super) stats: Option<StatsSpec>,
    /// A plain guest's memory comes from guest_memfd.
    pub(super) guest_memfd: bool,
}

/// CIDs 0 to 2 are the hypervisor, loopback and host; all ones means any (virtio 1.3, 5.10.4).
const FIRST_CID: u32 = 3;
/// Longest path of a Unix socket (`sun_path` of unix(7), with its NUL), less room for `_4226`.
const SOCKET_PATH_MAX: usize = 107 - 11;

impl Checked {
    pub(super) fn new(spec: VmSpec) -> Result<Self, Refusal> {
        let guest = Guest::new(&spec)?;
        let certs = spec.certs.as_deref().map(open_certs).transpose()?;
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
            guest,
            vsock: spec.vsock,
            disks,
            debug_console: spec.debug_console.map(|FileSpec(path)| path),
            no_reboot: spec.no_reboot.unwrap_or(false),
            policy,
            quote_service: spec.quote_service,
            certs,
            prefault: spec.prefault.unwrap_or(false),
            stats: spec.stats,
            guest_memfd: spec.coco.is_some_and(|coco| coco.guest_memfd == Some(true)),
        })
    }

    /// What depends on the host's memory and KVM: not asked for when nothing is to run.
    pub(super) fn check_host(&self, host: &Host) -> Result<(), Refusal> {
        check_memory(self.guest.memory, host_memory())?;
        let most = host.kvm.get_max_vcpus();
        if self.guest.cpus as usize > most {
            return Err(Refusal::new(
                format_args!("cannot give the guest {} vCPUs", self.guest.cpus),
                format_args!("this host's KVM allows {most}"),
                format_args!("ask for at most {most}: --cpus {most}"),
            ));
        }
        Ok(())
    }
}

fn open_certs(path: &Path) -> Result<CertStore, Refusal> {
    CertStore::open(path).map_err(|e| {
        let what = format!("cannot use the certificates {}", path.display());
        Refusal::from_message(what, &e.to_string(), "give a directory with vcek.pem, ask.pem and ark.pem")
    })
}

pub(in super::super) fn check_disk(disk: &DiskSpec) -> Result<Disk, Refusal> {
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

fn check_memory(memory: u64, host: Option<u64>) -> Result<(), Refusal> {
    match host {
        Some(total) if memory > total => Err(Refusal::new(
            format_args!("cannot give the guest {} MiB of memory", memory >> 20),
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
    fn mistakes_are_found_before_anything_is_made() {
        assert!(spec(|_| ()).is_ok());
        assert!(refusal(|s| s.kernel = None).contains("no kernel"), "the guest is checked too");
        let gone = refusal(|s| s.certs = Some("/nonexistent/certs".into()));
        assert!(gone.contains("cannot use the certificates /nonexistent/certs"));
        let empty = tempfile::tempdir().unwrap();
        assert!(refusal(|s| s.certs = Some(empty.path().into())).contains("no certificate in it"));
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
    fn a_guest_has_no_more_memory_than_its_host() {
        assert!(check_memory(1 << 30, Some(1 << 30)).is_ok());
        assert!(check_memory(1 << 30, None).is_ok(), "a host that does not say");
        let refusal = check_memory(2 << 30, Some(1 << 30)).unwrap_err().to_string();
        assert!(refusal.contains("this host has 1024 MiB"), "{refusal}");
        assert!(host_memory().is_some_and(|total| total > 1 << 20));
    }
}
