//! The newest Linux UAPI headers that Debian has, to compare our structs with.

use crate::{
    archive::{self, Archive, Suite},
    cache::{self, Cache},
    error::{Error, FileContext, Result},
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

const PACKAGE: &str = "linux-libc-dev";
/// How long the newest that we have passes for the newest that there is.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);
/// A file whose time of change is when we last asked Debian.
const ASKED: &str = "asked";

/// The headers of a Linux release, unpacked.
#[derive(Clone, Debug)]
pub struct Headers {
    version: String,
    root: PathBuf,
}

impl Headers {
    /// The newest of Debian's unstable release. Debian is asked once a day; where it cannot be reached, the newest that
    /// is in the cache has to do.
    pub fn newest() -> Result<Self> {
        let cache = Cache::open()?;
        let cached = Self::cached(&cache);
        match cached {
            Some((headers, age)) if age < FRESH => Ok(headers),
            cached => Self::fetch(&cache).or_else(|error| {
                let (headers, _) = cached.ok_or(error)?;
                eprintln!("rig: Debian does not answer; {PACKAGE} {} is the newest here", headers.version);
                Ok(headers)
            }),
        }
    }

    /// The package's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The directories to search for `<linux/…>` and `<asm/…>`, in this order, before the system's own.
    pub fn include_dirs(&self) -> [PathBuf; 2] {
        ["usr/include", "usr/include/x86_64-linux-gnu"].map(|dir| self.root.join(dir))
    }

    /// What was fetched last, and how long ago Debian was asked.
    fn cached(cache: &Cache) -> Option<(Self, Duration)> {
        let entries = fs::read_dir(cache.root()).ok()?;
        let found = entries.flatten().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix(PACKAGE)?.strip_prefix('_')?;
            let asked = fs::metadata(entry.path().join(ASKED)).ok()?.modified().ok()?;
            Some((asked, Self { version: version.to_owned(), root: entry.path() }))
        });
        let (asked, headers) = found.max_by_key(|(asked, _)| *asked)?;
        Some((headers, SystemTime::now().duration_since(asked).unwrap_or_default()))
    }

    fn fetch(cache: &Cache) -> Result<Self> {
        let archive = Archive::open(cache, Suite::Sid)?;
        let version = archive.version(PACKAGE)?;
        let root = cache.entry(&format!("{PACKAGE}_{version}"), |scratch| {
            eprintln!("rig: fetching {PACKAGE} {version} from Debian (2 MB)");
            let packages = scratch.join("packages");
            archive.download(&[PACKAGE], &packages)?;
            archive::unpack(&packages, scratch)?;
            for waste in ["packages", "usr/share"] {
                cache::remove(&scratch.join(waste))?;
            }
            complete(scratch)
        })?;
        let asked = root.join(ASKED);
        fs::write(&asked, "").file("write", &asked)?;
        Ok(Self { version, root })
    }
}

/// Other architectures have the file too; ours is where the compiler will look for it.
fn complete(root: &Path) -> Result<()> {
    let missing = ["usr/include/linux/kvm.h", "usr/include/x86_64-linux-gnu/asm/kvm.h"]
        .into_iter()
        .find(|path| !root.join(path).is_file());
    missing.map_or(Ok(()), |path| {
        Err(Error::new(
            format!("Debian's package {PACKAGE} is not what was expected"),
            format!("it has no {path}"),
            "tell the project: the packaging has changed",
        ))
    })
}
