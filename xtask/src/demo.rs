//! `cargo xtask demo`: the demonstration, here or in the rig.

use crate::{Status, build, kvm::Kvm};
use cloister_rig::{Error, Options, Rig, RunSpec};
use std::{io, path::Path, process::Command};

pub(crate) fn run(args: &[String]) -> Status {
    build::needs()?;
    let cloister = build::cloister()?;
    build::payload()?;
    start(&cloister, args)
}

/// Runs the built demonstration.
pub(crate) fn start(cloister: &Path, args: &[String]) -> Status {
    if let Kvm::Absent(reason) = Kvm::probe() {
        eprintln!("xtask: {reason}; running in the rig, on an emulated processor");
        let words = [cloister.display().to_string(), "demo".into()];
        let spec = RunSpec::words(&[&words, args].concat());
        return Ok(Rig::prepare(&Options::default())?.run(&spec, &mut io::stdout())?.status);
    }
    let status = Command::new(cloister).arg("demo").args(args).status();
    let status = status
        .map_err(|error| Error::new("cannot start the demonstration", error.to_string(), "build again"))?;
    Ok(status.code().unwrap_or(1))
}
