//! Debian's builds of OVMF, and of systemd's EFI stub, unpacked into the cache.

use crate::{
    archive::{self, Archive, Suite},
    cache::{self, Cache},
    error::{Error, FileContext, Result},
};
use std::{fs, path::PathBuf};

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
