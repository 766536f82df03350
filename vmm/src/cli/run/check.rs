//! What was asked for, checked as far as it can be before anything is created.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use cloister_coco::tdx::QuoteServiceAddress;
use cloister_devices::virtio::dev::blk::Disk;

use super::guest::Guest;
use crate::cli::attest::{self, Policy};
use crate::config::{CocoPlatform, DiskSpec, FileSpec, StatsSpec, VmSpec, VsockSpec};
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
    #[allow(dead_code)]
    pub(super) quote_service: Option<QuoteServiceAddress>,
    /// Certificates for SNP guests: a directory or a file, which is there.
    #[allow(dead_code)]
    pub(super) certs: Option<PathBuf>,
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
        check_memory(guest.memory)?;
        check_services(&spec, guest.platform)?;
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
            certs: spec.certs,
            prefault: spec.prefault.unwrap_or(false),
            stats: spec.stats,
            guest_memfd: spec.coco.is_some_and(|coco| coco.guest_memfd == Some(true)),
        })
    }

    /// What depends on the host's KVM.
    pub(super) fn check_host(&self, host: &Host) -> Result<(), Refusal> {
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

/// Services that the guest would never be asked about.
fn check_services(spec: &VmSpec, platform: CocoPlatform) -> Result<(), Refusal> {
    use CocoPlatform::{Auto, Snp, Tdx};
    let useless = |flag: &str, of: &str| {
        Refusal::new(
            format_args!("{flag} with --coco {platform}"),
            format_args!("only guests on {of} ask for it"),
            format_args!("leave {flag} away, or choose --coco {of}"),
        )
    };
    if spec.quote_service.is_some() && !matches!(platform, Auto | Tdx) {
        return Err(useless("--quote-service", "tdx"));
    }
    if spec.certs.is_some() && !matches!(platform, Auto | Snp) {
        return Err(useless("--certs", "snp"));
    }
    if let Some(path) = &spec.certs {
        path.metadata().map_err(|e| {
            Refusal::new(
                format_args!("cannot use the certificates {}", path.display()),
                e,
                "give a directory with vcek, ask and ark, or a file with the table",
            )
        })?;
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

fn check_memory(memory: u64) -> Result<(), Refusal> {
    let what = format!("cannot give the guest {} MiB of memory", memory >> 20);
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
    use crate::config::Size;

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
        assert!(refusal(|s| s.memory = Some(Size(16 << 40))).contains("this host has"));
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
    fn services_are_for_guests_that_ask_for_them() {
        let service = || Some("vsock:2:4050".parse().unwrap());
        let platform = |s: &mut VmSpec, p: CocoPlatform| s.coco = Some(p.into());
        let on = |p| refusal(move |s| (platform(s, p), s.quote_service = service()).1);
        assert!(on(CocoPlatform::Snp).contains("--quote-service with --coco snp"));
        assert!(on(CocoPlatform::Off).contains("only guests on tdx"));
        assert!(spec(|s| (platform(s, CocoPlatform::Tdx), s.quote_service = service()).1).is_ok());
        assert!(spec(|s| s.quote_service = service()).is_ok(), "auto may choose tdx");

        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().to_owned();
        assert!(spec(|s| (platform(s, CocoPlatform::Snp), s.certs = Some(here.clone())).1).is_ok());
        let gone = Some(here.join("none"));
        assert!(refusal(|s| s.certs = gone).contains("cannot use the certificates"));
        assert!(
            refusal(|s| (platform(s, CocoPlatform::Tdx), s.certs = Some(here)).1)
                .contains("only guests on snp")
        );
    }
}
