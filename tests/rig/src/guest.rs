//! Kernels for guests.

use crate::{
    cache::Cache,
    error::{FileContext, Result},
    kernel,
    modules::{self, Module},
    tools::Tools,
};
use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// A kernel for a guest, unmodified, as a distribution ships it.
#[derive(Clone, Debug)]
pub struct GuestKernel {
    /// What `uname -r` says in the guest.
    pub version: String,
    /// The compressed image.
    pub bzimage: PathBuf,
    /// The uncompressed ELF image, for PVH boot.
    pub vmlinux: PathBuf,
    /// Its modules, decompressed, in load order.
    pub modules: Vec<Module>,
    /// The directory that holds all of these.
    pub dir: PathBuf,
}

impl GuestKernel {
    /// Reads a kernel's directory: `version`, `vmlinuz`, `vmlinux` and `modules/`.
    pub fn load(dir: &Path) -> Result<Self> {
        let version = dir.join("version");
        let version = fs::read_to_string(&version).file("read", &version)?.trim().to_owned();
        let modules = modules::read(&dir.join("modules"))?;
        Ok(Self {
            version,
            bzimage: dir.join("vmlinuz"),
            vmlinux: dir.join("vmlinux"),
            modules,
            dir: dir.to_owned(),
        })
    }

    /// The named modules with all that they need, in load order; what is built in is left out.
    pub fn modules_for(&self, names: &[&str]) -> Vec<&Module> {
        modules::closure(&self.modules, names)
    }
}

/// The kernels that whole-machine tests boot: Linux 6.12 and the newest that Debian has.
///
/// Taken from `$CLOISTER_GUEST_KERNELS` (directories, separated by colons) when that is set; else from the cache, and
/// fetched once if they are not there.
pub fn guest_kernels() -> Result<Vec<GuestKernel>> {
    if let Some(dirs) = env::var_os("CLOISTER_GUEST_KERNELS").filter(|dirs| !dirs.is_empty()) {
        return env::split_paths(&dirs).map(|dir| GuestKernel::load(&dir)).collect();
    }
    let cache = Cache::open()?;
    let tools = Tools::prepare(&cache)?;
    [kernel::LINUX_6_12, kernel::LINUX_NEWEST]
        .iter()
        .map(|recipe| GuestKernel::load(&kernel::prepare(&cache, &tools, recipe)?))
        .collect()
}
