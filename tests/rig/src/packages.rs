//! The machine's own Debian packages: only for building, and only root's are installed.

use crate::{
    error::{Error, Result},
    exec,
};
use std::{fs, os::unix::fs::MetadataExt, path::Path, process::Command};

const ADVICE: &str = "check the machine's network and package sources";

/// A file that shows that a package is there, and the package.
pub(crate) type Need<'a> = (&'a str, &'a str);

/// Installs the packages whose files are missing; where that is not possible, says which they are.
pub fn install_missing(needs: &[Need<'_>], purpose: &str) -> Result<()> {
    install(&missing(needs), purpose)
}

/// Installs packages; where that is not possible, says which they are.
pub(crate) fn install(packages: &[&str], purpose: &str) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    installable(packages, purpose)?;
    eprintln!("rig: installing {} to {purpose}", packages.join(" "));
    let apt = |args: &[&str]| {
        let mut apt = Command::new("apt-get");
        // The build of the host's kernel installs packages too, in the background.
        apt.args(["-qq", "-o", "DPkg::Lock::Timeout=600"]).args(args);
        exec::output(apt.env("DEBIAN_FRONTEND", "noninteractive"), ADVICE)
    };
    let install = [&["install", "-y", "--no-install-recommends"], packages].concat();
    apt(&install).or_else(|_| apt(&["update"]).and_then(|_| apt(&install))).map(drop)
}

/// The packages whose files are missing.
pub(crate) fn missing<'a>(needs: &[Need<'a>]) -> Vec<&'a str> {
    needs.iter().filter(|(file, _)| !Path::new(file).exists()).map(|(_, package)| *package).collect()
}

/// An error which names the packages, if they may not be installed by us.
pub(crate) fn installable(missing: &[&str], purpose: &str) -> Result<()> {
    let apt = Path::new("/usr/bin/apt-get").exists();
    if missing.is_empty() || (is_root() && apt) {
        return Ok(());
    }
    Err(refused(missing, purpose, apt))
}

fn refused(missing: &[&str], purpose: &str, apt: bool) -> Error {
    let names = missing.join(" ");
    let (why, next) = if apt {
        ("Debian packages are missing, and only root may install them", format!("apt-get install {names}"))
    } else {
        (
            "programs or files of Debian packages are missing, and there is no apt-get to install them with",
            format!("install what this system has in place of: {names}"),
        )
    };
    Error::new(format!("cannot {purpose}"), why, next)
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

#[cfg(test)]
mod tests {
    use super::{missing, refused};

    #[test]
    fn what_is_missing_is_named_with_what_to_do() {
        let needs = [("/proc/self/status", "there"), ("/proc/self/no-such-file", "absent")];
        let missing = missing(&needs);
        assert_eq!(missing, ["absent"]);
        let text = |apt| refused(&missing, "do it", apt).to_string();
        assert!(text(true).ends_with("next: apt-get install absent"), "{}", text(true));
        assert!(text(false).contains("no apt-get") && text(false).ends_with("in place of: absent"));
    }
}
