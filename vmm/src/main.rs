//! `cloister`: a virtual machine monitor for confidential guests on Linux/KVM.

mod board;
mod cli;
mod config;
mod exit;
mod kvm;
mod refusal;
mod signals;
mod terminal;
mod x86_64;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
