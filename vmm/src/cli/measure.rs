//! `cloister measure`: what a launch will measure to, and why one measured to something else. Without a
//! subcommand it takes the flags of `run` and measures that guest.

mod ahead;
mod args;
mod direct;
mod explain;
mod files;
mod guest;
mod id;
mod igvm;
mod print;
mod rtmr;
mod sev;
mod snp;
mod tdx;
mod work;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::exit;
use crate::refusal::Refusal;

/// Arguments of `cloister measure`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub(super) struct MeasureArgs {
    #[command(subcommand)]
    platform: Option<Platform>,
    #[command(flatten)]
    guest: guest::GuestArgs,
}

#[derive(Debug, Subcommand)]
enum Platform {
    /// Launch digest of an SEV-SNP guest that boots through firmware
    Snp(snp::SnpArgs),
    /// MRTD of a TD, and RTMR0 to RTMR3 as its firmware will extend them
    Tdx(tdx::TdxArgs),
    /// Launch digest or MRTD of an IGVM file
    Igvm(igvm::IgvmArgs),
    /// Launch digest of a guest under the older SEV or SEV-ES
    Sev(sev::SevArgs),
}

pub(super) fn main(args: MeasureArgs) -> ExitCode {
    let (name, done) = match args.platform {
        Some(Platform::Snp(args)) => (" snp", snp::run(&args)),
        Some(Platform::Tdx(args)) => (" tdx", tdx::run(&args)),
        Some(Platform::Igvm(args)) => (" igvm", igvm::run(&args)),
        Some(Platform::Sev(args)) => (" sev", sev::run(&args)),
        None => ("", guest::run(&args.guest)),
    };
    match done {
        Ok(End::Measured) => ExitCode::from(exit::OK),
        Ok(End::Unexplained) => ExitCode::from(exit::REFUSED),
        Err(refusal) => {
            eprintln!("cloister measure{name}: {refusal}");
            ExitCode::from(exit::BAD_INPUT)
        }
    }
}

/// How a measurement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It was predicted, or explained.
    Measured,
    /// Nothing that was tried gives the digest.
    Unexplained,
}

/// A refusal around the message of a lower room.
fn refuse(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Refusal {
    Refusal::from_message(what, &error.to_string(), "see `cloister measure --help`")
}

#[cfg(test)]
mod tests;
