//! A directory for what one run needs.

use crate::error::{FileContext, Result};
use std::{
    env,
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

const PREFIX: &str = "cloister-rig-";

/// Removes what killed processes left.
fn sweep() {
    for entry in fs::read_dir(env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A private directory for one run, removed at its end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes the directory, and removes those of processes that are gone.
    pub(crate) fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        sweep();
        let dir = env::temp_dir().join(format!("{PREFIX}{}-{count}", process::id()));
        DirBuilder::new().mode(0o700).create(&dir).file("create", &dir)?;
        Ok(Self(dir))
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
