//! Other people's tools that our results are compared with.

use crate::{cache::Cache, error::Result, exec, packages};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The tool that everyone predicts launch digests with, and what it needs.
const SEV_SNP_MEASURE: &str = "sev-snp-measure==0.0.13";

/// A Python that has sev-snp-measure, from PyPI when it is not there.
pub fn sev_snp_measure() -> Result<PathBuf> {
    let dir = Cache::open()?.entry("sev-snp-measure-0.0.13", |scratch| {
        eprintln!("rig: fetching {SEV_SNP_MEASURE} from PyPI (about 6 MB)");
        python_with_venv()?;
        let venv = "install Python 3 with venv and pip (Debian, Ubuntu: apt-get install python3-venv)";
        exec::output(Command::new("python3").args(["-m", "venv"]).arg(scratch), venv)?;
        let mut pip = Command::new(python(scratch));
        // The folder moves when it is whole, so nothing but this Python in it can be relied on.
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", SEV_SNP_MEASURE]);
        exec::output(
            &mut pip,
            "check that this machine reaches pypi.org, or the index that pip is set up with",
        )
        .map(drop)
    })?;
    Ok(python(&dir))
}

/// Makes sure of Python's module venv, which Debian keeps apart.
fn python_with_venv() -> Result<()> {
    let mut python = Command::new("python3");
    let works = python.args(["-c", "import ensurepip, venv"]).stdin(Stdio::null()).stderr(Stdio::null());
    if works.status().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    packages::install(&["python3-venv"], "compare digests with sev-snp-measure's")
}

fn python(dir: &Path) -> PathBuf {
    dir.join("bin/python3")
}
