//! The project's chores. `cargo xtask help` lists them.

mod build;
mod check;
mod demo;
mod guest;
mod hardware;
mod kvm;
mod rig;
mod rustc;
mod summary;
mod test;

use cloister_rig::Error;
use std::{env, process::ExitCode};

const HELP: &str = "\
Usage: cargo xtask COMMAND

  demo [ARGS]          the demonstration: `cloister demo ARGS`, in the rig where there is no usable /dev/kvm
  test [FILTER]        every test, with the whole-machine tests in the rig where there is no hardware virtualisation
  hardware [snp|tdx]   the tests that need a real SNP or TDX host, on such a host (or CLOISTER_HARDWARE=snp|tdx)
  guest                kernels and an initial file system for a first guest, and the line that starts it
  check                formatting, lints, licences
  rig [OPTIONS] -- CMD run a command where there is a real /dev/kvm, on emulated hardware

Options of `rig`:
  --kernel KERNEL      best (default), debian, trimmed (waits for its build), or the path of a bzImage
  --mem MIB            memory (4096)
  --smp N              processors (2)
  --timeout SECONDS    then the status is 124 (300); it is 125 when the rig's host died
  --silence SECONDS    how long CMD may print nothing; then the status is 123 (as long as it likes)
  --dir DIR            the one directory that CMD may write to (the current one)
  --env NAME=VALUE     added to CMD's environment; may be repeated
  -v                   show QEMU's command line and the console
CMD sees this machine's files; what it writes elsewhere than in DIR is gone at its end. Its standard input is empty.

What is fetched and built for the rig is kept in $CLOISTER_CACHE (~/.cache/cloister); deleting that is safe.
Debian packages come from $CLOISTER_DEBIAN_MIRROR (http://deb.debian.org/debian).
";

/// A chore's exit status, or what went wrong.
type Status = Result<i32, Error>;

fn main() -> ExitCode {
    let mut args: Vec<String> = env::args().skip(1).collect();
    if env::var_os(rustc::VARIABLE).is_some() {
        return exit(rustc::run(&args));
    }
    let command = if args.is_empty() { "help".to_owned() } else { args.remove(0) };
    let status = match command.as_str() {
        "demo" => demo::run(&args),
        "test" => test::run(&args),
        "guest" => guest::run(),
        "hardware" => hardware::run(&args),
        "check" => check::run(),
        "rig" => rig::run(args),
        "help" | "-h" | "--help" => {
            print!("{HELP}");
            Ok(0)
        }
        other => Err(usage(&format!("there is no chore `{other}`"))),
    };
    exit(status)
}

fn exit(status: Status) -> ExitCode {
    match status {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(1)),
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::from(2)
        }
    }
}

/// An error in how xtask was called.
fn usage(why: &str) -> Error {
    Error::new("xtask does not know what to do", why, "see `cargo xtask help`")
}
