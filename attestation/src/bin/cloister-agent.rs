//! The agent of a Linux guest: proves what the guest is, and gets its secrets.

use std::process::ExitCode;

use cloister_attestation::agent::linux::{Args, USAGE, run};

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) if args.help => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Ok(args) => args,
        Err(error) => {
            eprintln!("cloister-agent: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&args, &mut |line| println!("cloister-agent: {line}")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("cloister-agent: {failure}");
            ExitCode::from(failure.exit_status())
        }
    }
}
