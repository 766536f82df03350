//! Debian's archive through `apt-get`, with every one of its directories in our cache: signatures and checksums are
//! apt's work, the machine's own sources, lists and packages are neither read nor changed.

use crate::{
    cache::Cache,
    error::{Error, FileContext, Result},
    exec, packages,
};
use std::{env, fs, path::Path, path::PathBuf, process::Command};

/// The keys which the archive is signed with.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const ONLINE: &str = "check this machine's clock, and that it reaches the Debian archive (CLOISTER_DEBIAN_MIRROR names another mirror)";

/// A Debian release.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Suite {
    /// Linux 6.12 comes from here.
    Trixie,
    /// Trixie with newer versions of a few packages: QEMU and virtiofsd come from here.
    TrixieBackports,
    /// The newest kernel comes from here.
    Sid,
}

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Self::Trixie => "trixie",
            Self::TrixieBackports => "trixie-backports",
            Self::Sid => "sid",
        }
    }

    /// The release that it adds to.
    fn base(self) -> Option<Self> {
        matches!(self, Self::TrixieBackports).then_some(Self::Trixie)
    }
}

/// One release's package lists, fresh.
pub(crate) struct Archive {
    config: PathBuf,
}

impl Archive {
    /// Fetches the package lists of a release.
    pub(crate) fn open(cache: &Cache, suite: Suite) -> Result<Self> {
        let archive = Self { config: configure(cache, suite, suite.name())? };
        exec::output(archive.apt("apt-get").args(["-qq", "update"]), ONLINE)?;
        Ok(archive)
    }

    /// Downloads packages with all that they depend on, as if nothing were installed.
    pub(crate) fn download_closure(&self, packages: &[&str], into: &Path) -> Result<()> {
        let partial = into.join("partial");
        fs::create_dir_all(&partial).file("create", &partial)?;
        let archives = format!("Dir::Cache::archives={}", into.display());
        let mut apt = self.apt("apt-get");
        apt.args(["-qq", "install", "-y", "-d", "--no-install-recommends", "-o", &archives]).args(packages);
        exec::output(&mut apt, ONLINE).map(drop)
    }

    /// Downloads packages, without what they depend on.
    pub(crate) fn download<S: AsRef<str>>(&self, packages: &[S], into: &Path) -> Result<()> {
        fs::create_dir_all(into).file("create", into)?;
        let mut apt = self.apt("apt-get");
        apt.args(["-qq", "download"]).args(packages.iter().map(AsRef::as_ref)).current_dir(into);
        exec::output(&mut apt, ONLINE).map(drop)
    }

    /// The names in a package's `Depends`, the first of each group of alternatives.
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<String>> {
        let shown = exec::output(self.apt("apt-cache").args(["show", "--no-all-versions", package]), ONLINE)?;
        let shown = String::from_utf8_lossy(&shown);
        let depends = shown.lines().find_map(|line| line.strip_prefix("Depends: ")).unwrap_or_default();
        Ok(depends.split(", ").filter_map(|group| group.split(' ').next()).map(str::to_owned).collect())
    }

    /// The newest version of a package.
    pub(crate) fn version(&self, package: &str) -> Result<String> {
        let shown = exec::output(self.apt("apt-cache").args(["show", "--no-all-versions", package]), ONLINE)?;
        let shown = String::from_utf8_lossy(&shown);
        let version = shown.lines().find_map(|line| line.strip_prefix("Version: "));
        version.map(str::to_owned).ok_or_else(|| {
            Error::new(
                format!("Debian has no package {package}"),
                "its list has no version of it",
                "tell the project: the packaging has changed",
            )
        })
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.config).env("LC_ALL", "C");
        command
    }
}

/// Unpacks every package in `packages` into `root`.
pub(crate) fn unpack(packages: &Path, root: &Path) -> Result<()> {
    for entry in fs::read_dir(packages).file("read", packages)? {
        let path = entry.file("read", packages)?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            let advice = "delete the cache directory and run again";
            exec::output(Command::new("dpkg-deb").arg("-x").arg(&path).arg(root), advice)?;
        }
    }
    Ok(())
}

/// The configuration with which the background build fetches the kernel's source: its own, because it runs beside us.
pub(crate) fn configure_for_source(cache: &Cache) -> Result<PathBuf> {
    configure(cache, Suite::Trixie, "source")
}

/// Makes apt's directories for a release, and returns the path of the configuration that keeps to them.
fn configure(cache: &Cache, suite: Suite, name: &str) -> Result<PathBuf> {
    packages::install_missing(
        &[(KEYRING, "debian-archive-keyring")],
        "check the signatures of Debian's packages",
    )?;
    let root = cache.path(&format!("apt-{name}"));
    for dir in ["lists/partial", "archives/partial", "etc"] {
        let dir = root.join(dir);
        fs::create_dir_all(&dir).file("create", &dir)?;
    }
    let mirror = env::var("CLOISTER_DEBIAN_MIRROR").unwrap_or_else(|_| "http://deb.debian.org/debian".into());
    let sources: String = [Some(suite), suite.base()]
        .iter()
        .flatten()
        .map(|suite| format!("deb [arch=amd64 signed-by={KEYRING}] {mirror} {} main\n", suite.name()))
        .collect();
    let config = root.join("apt.conf");
    write(&root.join("status"), "")?;
    write(&root.join("etc/sources.list"), &sources)?;
    write(&config, &configuration(&root, suite))?;
    Ok(config)
}

/// An apt configuration that keeps to `root`, prefers `suite`, and keeps to how the machine reaches the network.
fn configuration(root: &Path, suite: Suite) -> String {
    let (root, suite) = (root.display(), suite.name());
    let mut text = format!(
        r#"Dir "{root}";
Dir::Etc "{root}/etc";
Dir::Etc::sourcelist "{root}/etc/sources.list";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "{root}/etc";
Dir::Etc::sourceparts "{root}/etc";
Dir::Etc::preferencesparts "{root}/etc";
Dir::State "{root}";
Dir::State::status "{root}/status";
Dir::Cache "{root}";
APT::Default-Release "{suite}";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
Debug::NoLocking "true";
"#
    );
    // Proxies, and whether this machine accepts an archive that stands still: its owner's decisions, kept.
    let dump = Command::new("apt-config").args(["dump", "Acquire"]).output();
    for line in dump.iter().flat_map(|output| output.stdout.split(|byte| *byte == b'\n')) {
        let line = String::from_utf8_lossy(line);
        if ["Acquire::http", "Acquire::https", "Acquire::Check-"].iter().any(|kept| line.starts_with(kept)) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).file("write", path)
}
