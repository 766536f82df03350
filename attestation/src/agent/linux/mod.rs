//! The agent of a Linux guest: `cloister-agent`. Pure Rust, so that it links statically and fits an
//! initramfs.

mod args;
mod configfs;
mod ports;
mod provider;
mod run;
mod secret_file;
mod vsock;

pub use args::{Args, ProviderChoice, USAGE, UsageError};
pub use configfs::ConfigfsTsm;
pub use ports::Ports;
pub use run::{Failure, run};
