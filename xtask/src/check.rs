//! `cargo xtask check`: formatting, lints, licences.

use crate::{Status, build};
use cloister_rig::Error;
use std::process::{Command, Stdio};

pub(crate) fn run() -> Status {
    let mut failed = 0;
    failed += step("formatting", build::cargo().args(["fmt", "--all", "--", "--check"]))?;
    let clippy =
        ["clippy", "--workspace", "--all-targets", "--all-features", "--locked", "--", "-D", "warnings"];
    failed += step("lints", build::cargo().args(clippy))?;
    failed += step(
        "lints of the demo's guest",
        build::payload_cargo().args(["clippy", "--locked", "--", "-D", "warnings"]),
    )?;
    let mut deny = Command::new("cargo-deny");
    if deny
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
    {
        failed += step("licences and advisories", build::cargo().args(["deny", "check"]))?;
    } else {
        eprintln!(
            "xtask: licences and advisories: not checked, cargo-deny is not installed (cargo install cargo-deny)"
        );
    }
    Ok(i32::from(failed > 0))
}

fn step(what: &str, cargo: &mut Command) -> Result<u32, Error> {
    eprintln!("xtask: {what}");
    let status =
        cargo.status().map_err(|error| Error::new("cannot run cargo", error.to_string(), "install Rust"))?;
    if !status.success() {
        eprintln!("xtask: {what}: failed");
    }
    Ok(u32::from(!status.success()))
}
