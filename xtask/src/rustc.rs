//! rustc for the demo's guest: cargo runs this program in its place, and it runs rustc.
//!
//! Cargo derives a crate's identity, `-C metadata`, from where the crate is when that is outside of the workspace it is
//! built in; identities are in the names of functions, and their order in the guest follows from these. The guest is
//! measured, so a checkout's path must not be in it: crates of this project get an identity from their name alone.

use crate::Status;
use cloister_rig::Error;
use std::process::Command;

/// Set for cargo, it makes this program a rustc.
pub(crate) const VARIABLE: &str = "CLOISTER_XTASK_RUSTC";

/// Lets cargo run this program as rustc.
pub(crate) fn wrap(cargo: &mut Command) {
    if let Ok(own) = std::env::current_exe() {
        cargo.env("RUSTC_WRAPPER", own).env(VARIABLE, "1");
    }
}

/// Runs rustc: the first of `args`, with the others as its arguments.
pub(crate) fn run(args: &[String]) -> Status {
    let failed = |why: String| Error::new("cannot run rustc", why, "run `cargo xtask`, not this program");
    let (rustc, args) = args.split_first().ok_or_else(|| failed("its name is not given".into()))?;
    let status = Command::new(rustc).args(with_own_identity(args)).env_remove(VARIABLE).status();
    let status = status.map_err(|error| failed(error.to_string()))?;
    Ok(status.code().unwrap_or(1))
}

/// The arguments, with another identity where the crate is this project's.
fn with_own_identity(args: &[String]) -> Vec<String> {
    let name = args.iter().skip_while(|arg| *arg != "--crate-name").nth(1);
    let ours = name.is_some_and(|name| name.starts_with("cloister_") || name == "demo_guest");
    let identity = |arg: &String| match arg.starts_with("metadata=") {
        true if ours => "metadata=cloister".into(),
        _ => arg.clone(),
    };
    args.iter().map(identity).collect()
}

#[cfg(test)]
mod tests {
    use super::with_own_identity;

    #[test]
    fn only_this_projects_crates_change() {
        let args = |name: &str, metadata: &str| {
            ["--crate-name", name, "src/lib.rs", "-C", metadata, "-C", "extra-filename=-1"].map(str::to_owned)
        };
        assert_eq!(
            with_own_identity(&args("demo_guest", "metadata=1")),
            args("demo_guest", "metadata=cloister")
        );
        assert_eq!(with_own_identity(&args("sha2", "metadata=1")), args("sha2", "metadata=1"));
    }
}
