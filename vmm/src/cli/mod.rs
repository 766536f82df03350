//! The command line: one file a subcommand.

mod attest;
mod demo;
mod run;
mod story;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A virtual machine monitor for confidential guests (AMD SEV-SNP, Intel TDX) on Linux/KVM.
#[derive(Debug, Parser)]
#[command(name = "cloister", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Log more to standard error: -v warnings and what happens, -vv everything
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
}

const AFTER_HELP: &str = "Exit status: 0 the guest switched itself off (or the command did its work); \
1 the VMM failed; 2 what was asked for cannot be, nothing was created; 3 the guest's kernel panicked; \
4 the guest crashed; 5 the guest asked for a reset and --no-reboot was given; 6 evidence was refused; \
128+N ended by signal N.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Launch a guest
    Run(run::RunArgs),
    /// Plan, measure, launch and attest a small guest that ships with cloister, and tell the story
    Demo(demo::DemoArgs),
}

/// Reads the command line and does what it says.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    log(cli.verbose);
    match cli.command {
        Command::Run(args) => run::main(args),
        Command::Demo(args) => demo::main(args),
    }
}

fn log(verbose: u8) {
    use tracing_subscriber::filter::LevelFilter;
    let level = match verbose {
        0 => LevelFilter::ERROR,
        1 => LevelFilter::INFO,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(true).init();
}
