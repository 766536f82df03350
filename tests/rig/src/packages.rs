//! The machine's own Debian packages: only for building, and only root's are installed.

use crate::{
    error::{Error, Result},
    exec,
};
use std::{fs, os::unix::fs::MetadataExt, path::Path, process::Command};

/// A file that shows that a package is there, and the package.
pub(crate) type Need<'a> = (&'a str, &'a str);

/// Installs the packages whose files are missing; where that is not possible, says which they are.
pub fn install_missing(needs: &[Need<'_>], purpose: &str) -> Result<()> {
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    installable(&missing, purpose)?;
    eprintln!("rig: installing {} to {purpose}", missing.join(" "));
    let apt = |args: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.arg("-qq").args(args).env("DEBIAN_FRONTEND", "noninteractive");
        exec::output(&mut apt, "check the machine's network and package sources")
    };
    let install = [&["install", "-y", "--no-install-recommends"], &missing[..]].concat();
    apt(&install).or_else(|_| apt(&["update"]).and_then(|_| apt(&install))).map(drop)
}

/// The packages whose files are missing.
pub(crate) fn missing<'a>(needs: &[Need<'a>]) -> Vec<&'a str> {
    needs.iter().filter(|(file, _)| !Path::new(file).exists()).map(|(_, package)| *package).collect()
}

/// An error which names the packages, if they may not be installed by us.
pub(crate) fn installable(missing: &[&str], purpose: &str) -> Result<()> {
    if missing.is_empty() || (is_root() && Path::new("/usr/bin/apt-get").exists()) {
        return Ok(());
    }
    let line = format!("apt-get install {}", missing.join(" "));
    Err(Error::new(
        format!("cannot {purpose}"),
        "Debian packages are missing, and only root may install them",
        line,
    ))
}

/// Whether this process may install packages.
fn is_root() -> bool {
    owner().is_some_and(|(uid, _)| uid == 0)
}

/// The user and the group that this process runs as.
pub(crate) fn owner() -> Option<(u32, u32)> {
    let metadata = fs::metadata("/proc/self").ok()?;
    Some((metadata.uid(), metadata.gid()))
}
