//! Where fetched and built things are kept: outside the source tree, whole or absent.

use crate::error::{Error, FileContext, Result};
use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
};

/// The cache directory.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$CLOISTER_CACHE`, else `$XDG_CACHE_HOME/cloister`, else `~/.cache/cloister`; created when absent.
    pub fn open() -> Result<Self> {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = variable("CLOISTER_CACHE")
            .or_else(|| variable("XDG_CACHE_HOME").map(|dir| dir.join("cloister")))
            .or_else(|| variable("HOME").map(|dir| dir.join(".cache/cloister")))
            .ok_or_else(|| {
                Error::new(
                    "there is no place for the cache",
                    "none of CLOISTER_CACHE, XDG_CACHE_HOME and HOME is set",
                    "set CLOISTER_CACHE to a directory with 3 GB of room",
                )
            })?;
        Self::at(&root)
    }

    /// A cache in the given directory.
    pub fn at(root: &Path) -> Result<Self> {
        fs::create_dir_all(root).file("create the cache directory", root)?;
        let root = root.canonicalize().file("find the cache directory", root)?;
        Ok(Self { root })
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of an entry, there or not.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Returns the entry `name`, made by `make` in a scratch directory when it is not there.
    ///
    /// Two processes that want the same entry wait for each other; an entry is never half made.
    pub(crate) fn entry(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let path = self.path(name);
        if path.is_dir() {
            return Ok(path);
        }
        let lock_path = self.path(&format!("{name}.lock"));
        let lock = File::create(&lock_path).file("create", &lock_path)?;
        lock.lock().file("lock", &lock_path)?;
        if path.is_dir() {
            return Ok(path);
        }
        let scratch = self.path(&format!("{name}.part"));
        remove(&scratch)?;
        fs::create_dir_all(&scratch).file("create", &scratch)?;
        make(&scratch)?;
        fs::rename(&scratch, &path).file("move into place", &path)?;
        Ok(path)
    }
}

/// Removes a directory with everything in it, if it is there.
pub(crate) fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::file("remove", dir, &error)),
        _ => Ok(()),
    }
}
