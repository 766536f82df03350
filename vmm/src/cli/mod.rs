//! The command line: one file a subcommand.

mod attest;
mod demo;
mod doctor;
mod dry_run;
mod inspect;
mod measure;
mod progress;
mod run;
mod story;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::exit;
use crate::refusal::Refusal;

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
7 the firmware refused the kernel that it was handed; 8 this host lacks what `doctor` was to find; \
128+N ended by signal N.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Launch a guest
    Run(Box<run::RunArgs>),
    /// Predict what a launch will measure to, or explain what one measured to
    Measure(Box<measure::MeasureArgs>),
    /// Show what is in a firmware image or an IGVM file, and what of it is measured
    Inspect(inspect::InspectArgs),
    /// Say what this host can do, what is missing, and what mends it
    Doctor(doctor::DoctorArgs),
    /// Plan, measure, launch and attest a small guest that ships with cloister, and tell the story
    Demo(demo::DemoArgs),
}

/// Reads the command line and does what it says.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version: what was asked for, or the best answer to nothing at all.
        Err(e) if !e.use_stderr() || e.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            e.exit()
        }
        Err(e) => {
            eprintln!("cloister: {}", mistake(&e));
            return ExitCode::from(exit::BAD_INPUT);
        }
    };
    log(cli.verbose);
    match cli.command {
        Command::Run(args) => run::main(*args),
        Command::Measure(args) => measure::main(*args),
        Command::Inspect(args) => inspect::main(args),
        Command::Doctor(args) => doctor::main(args),
        Command::Demo(args) => demo::main(args),
    }
}

/// A mistake on the command line, in the three lines that all mistakes are told in.
fn mistake(error: &clap::Error) -> Refusal {
    let text = error.render().to_string();
    let told = text.split("\n\n").next().unwrap_or_default();
    let told = told.trim_start_matches("error: ").lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    let remedy = tip.unwrap_or("see `cloister --help` and `cloister COMMAND --help`");
    Refusal::new("the command line cannot be used", told, remedy)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_on_the_command_line_are_three_lines_too() {
        for args in [
            &["cloister", "run", "--vsock", "cid=3,uid=1"][..],
            &["cloister", "run", "--bogus"],
            &["cloister", "run", "--coco", "sev"],
            &["cloister", "frobnicate"],
        ] {
            let error = Cli::try_parse_from(args).unwrap_err();
            let text = mistake(&error).to_string();
            assert_eq!(text.lines().count(), 3, "{args:?}: {text}");
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
