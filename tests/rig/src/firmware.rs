//! Debian's builds of OVMF for confidential guests, unpacked into the cache.

use crate::{
    archive::{self, Archive, Suite},
    cache::{self, Cache},
    error::{Error, FileContext, Result},
};
use std::{fs, path::PathBuf};

/// The packages, and the one image of each that is of use here.
const PACKAGES: [(&str, &str); 2] =
    [("ovmf-amdsev", "OVMF.amdsev.fd"), ("ovmf-inteltdx", "OVMF.inteltdx.ms.fd")];

/// A directory with `OVMF.amdsev.fd` and `OVMF.inteltdx.ms.fd` of Debian's unstable release, fetched when it is not
/// there.
pub fn firmware_images() -> Result<PathBuf> {
    let cache = Cache::open()?;
    cache.entry("ovmf-1", |scratch| {
        eprintln!("rig: fetching OVMF from Debian (about 7 MB)");
        let (packages, root) = (scratch.join("packages"), scratch.join("root"));
        fs::create_dir_all(&root).file("create", &root)?;
        let archive = Archive::open(&cache, Suite::Sid)?;
        archive.download(&PACKAGES.map(|(package, _)| package), &packages)?;
        archive::unpack(&packages, &root)?;
        for (package, name) in PACKAGES {
            let from = root.join("usr/share/ovmf").join(name);
            if !from.is_file() {
                return Err(Error::new(
                    format!("Debian's package {package} is not what was expected"),
                    format!("it has no usr/share/ovmf/{name}"),
                    "tell the project: the packaging has changed",
                ));
            }
            let to = scratch.join(name);
            fs::copy(&from, &to).file("copy", &from)?;
        }
        cache::remove(&packages)?;
        cache::remove(&root)
    })
}
