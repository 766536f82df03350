//! Debian's builds of OVMF, and of systemd's EFI stub, unpacked into the cache; and two builds of others, whose
//! measurements are published.

use crate::{
    archive::{self, Archive, Suite},
    cache::{self, Cache},
    error::{Error, FileContext, Result},
    exec,
};
use std::{env, fs, path::PathBuf, process::Command};

/// A package, and the one file of it that is of use here.
type Wanted = (&'static str, &'static str);

const CONFIDENTIAL: [Wanted; 2] = [
    ("ovmf-amdsev", "usr/share/ovmf/OVMF.amdsev.fd"),
    ("ovmf-inteltdx", "usr/share/ovmf/OVMF.inteltdx.ms.fd"),
];
const STOCK: [Wanted; 2] = [
    ("ovmf-generic", "usr/share/ovmf/OVMF.fd"),
    ("systemd-boot-efi", "usr/lib/systemd/boot/efi/linuxx64.efi.stub"),
];

/// Ubuntu's package with the first of [`published_firmware`]: where it is now or will be when its release is retired,
/// and its SHA-256.
const UBUNTU: [&str; 2] = [
    "http://archive.ubuntu.com/ubuntu/pool/main/e/edk2/ovmf_2025.02-3ubuntu2_all.deb",
    "http://old-releases.ubuntu.com/ubuntu/pool/main/e/edk2/ovmf_2025.02-3ubuntu2_all.deb",
];
const UBUNTU_SHA256: &str = "SHA256:7b8e6436df7cb735ddfc3d4f0bcf6a7dbd6613a6206dd4aec0bc981224e8dd49";
/// What apt fetches single files with.
const APT_HELPER: &str = "/usr/lib/apt/apt-helper";
/// The crate with the second among its test data. Cargo checks it against its index.
const VIRTEE: &str = "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\n[lib]\npath = \"lib.rs\"\n\
                      [workspace]\n[dependencies]\ntdx = \"=0.1.2\"\n";

/// Two images whose measurements others publish, by the names that these have: Ubuntu 25.04's `OVMF.fd` and VirTEE's
/// `OVMF.inteltdx.fd`. Fetched when they are not there.
pub fn published_firmware() -> Result<PathBuf> {
    Cache::open()?.entry("ovmf-published-1", |scratch| {
        eprintln!("rig: fetching OVMF from Ubuntu (5 MB) and from crates.io (2 MB)");
        let (package, root) = (scratch.join("ovmf.deb"), scratch.join("root"));
        let fetch = |url: &&str| {
            let mut helper = Command::new(APT_HELPER);
            helper.args(["-o", "Acquire::Retries=1", "download-file", url]).arg(&package).arg(UBUNTU_SHA256);
            exec::output(&mut helper, "check that this machine reaches the Ubuntu archive")
        };
        UBUNTU.iter().map(fetch).reduce(Result::or).transpose()?;
        let unpack = "delete the cache directory and run again";
        exec::output(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&root), unpack)?;

        let (sources, vendored) = (scratch.join("sources"), scratch.join("vendored"));
        fs::create_dir_all(&sources).file("create", &sources)?;
        for (name, text) in [("Cargo.toml", VIRTEE), ("lib.rs", "")] {
            let path = sources.join(name);
            fs::write(&path, text).file("write", &path)?;
        }
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["vendor", "--quiet", "--versioned-dirs"]).arg(&vendored).current_dir(&sources);
        exec::output(
            &mut cargo,
            "check that this machine reaches crates.io, or the index that cargo is set up with",
        )?;

        let ubuntu = root.join("usr/share/ovmf/OVMF.fd");
        let virtee = vendored.join("tdx-0.1.2/tests/data/OVMF.inteltdx.fd");
        for (from, name) in [(ubuntu, "OVMF.fd"), (virtee, "OVMF.inteltdx.fd")] {
            fs::copy(&from, scratch.join(name)).file("copy", &from)?;
        }
        for dir in [root, sources, vendored] {
            cache::remove(&dir)?;
        }
        fs::remove_file(&package).file("remove", &package)
    })
}

/// A directory with `OVMF.amdsev.fd` and `OVMF.inteltdx.ms.fd` of Debian's unstable release, fetched when it is not
/// there.
pub fn firmware_images() -> Result<PathBuf> {
    fetch("ovmf-1", "OVMF (about 7 MB)", &CONFIDENTIAL)
}

/// A directory with `OVMF.fd` and `linuxx64.efi.stub` of Debian's unstable release, fetched when it is not there.
pub fn stock_firmware() -> Result<PathBuf> {
    fetch("ovmf-stock-1", "OVMF and systemd's EFI stub (about 4 MB)", &STOCK)
}

fn fetch(entry: &str, what: &str, wanted: &[Wanted]) -> Result<PathBuf> {
    let cache = Cache::open()?;
    cache.entry(entry, |scratch| {
        eprintln!("rig: fetching {what} from Debian");
        let (packages, root) = (scratch.join("packages"), scratch.join("root"));
        fs::create_dir_all(&root).file("create", &root)?;
        let names: Vec<_> = wanted.iter().map(|(package, _)| *package).collect();
        Archive::open(&cache, Suite::Sid)?.download(&names, &packages)?;
        archive::unpack(&packages, &root)?;
        for (package, file) in wanted {
            let from = root.join(file);
            if !from.is_file() {
                return Err(Error::new(
                    format!("Debian's package {package} is not what was expected"),
                    format!("it has no {file}"),
                    "tell the project: the packaging has changed",
                ));
            }
            let to = scratch.join(from.file_name().unwrap_or_default());
            fs::copy(&from, &to).file("copy", &from)?;
        }
        cache::remove(&packages)?;
        cache::remove(&root)
    })
}
