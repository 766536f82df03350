//! Other people's tools that our results are compared with.

use crate::{cache::Cache, error::Result, exec};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The tool that everyone predicts launch digests with, and what it needs.
const SEV_SNP_MEASURE: &str = "sev-snp-measure==0.0.13";

/// A Python that has sev-snp-measure, from PyPI when it is not there.
pub fn sev_snp_measure() -> Result<PathBuf> {
    let dir = Cache::open()?.entry("sev-snp-measure-0.0.13", |scratch| {
        eprintln!("rig: fetching {SEV_SNP_MEASURE} from PyPI (about 6 MB)");
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

fn python(dir: &Path) -> PathBuf {
    dir.join("bin/python3")
}
