//! Why a kernel cannot be booted.

use snafu::Snafu;

use super::ElfError;

/// A file is not a kernel that we can boot.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub enum KernelError {
    /// It is an ELF file that we cannot load.
    #[snafu(display("{source}"))]
    Elf {
        /// Why.
        source: ElfError,
    },
}
