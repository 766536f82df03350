//! The rig: a real `/dev/kvm` on a machine which has none.
//!
//! QEMU emulates an AMD processor with SVM and nested paging; a Linux in it (the *host kernel*, L1) loads `kvm_amd` and
//! runs one command, which sees this machine's files: `/` read-only under a scratch overlay, and one directory
//! read-write at its own path. Output and exit status come back over virtio-serial. A guest that the command starts
//! (L2) runs in nested virtualisation, slowly but truly.
//!
//! Everything needed is fetched from Debian's archive into a cache outside the source tree; the machine's own packages
//! and its package manager's configuration are not touched.
//!
//! ```no_run
//! use cloister_rig::{Options, Rig, RunSpec};
//!
//! let rig = Rig::prepare(&Options::default())?;
//! let outcome = rig.run(&RunSpec::shell("ls -l /dev/kvm"), &mut std::io::stdout())?;
//! assert_eq!(outcome.status, 0);
//! # Ok::<(), cloister_rig::Error>(())
//! ```

mod archive;
mod bzimage;
mod cache;
mod child;
mod cpio;
mod error;
mod exec;
mod file_server;
mod firmware;
mod follow;
mod guest;
mod headers;
mod host_kernel;
mod initramfs;
mod kernel;
mod l1;
mod modules;
mod oracle;
mod packages;
mod qemu_patch;
mod rig;
mod run;
mod scratch;
mod tools;
mod tsc;

pub use cache::Cache;
pub use error::{Error, Result};
pub use firmware::{firmware_images, published_firmware, stock_firmware};
pub use guest::{GuestKernel, guest_kernels};
pub use headers::Headers;
pub use host_kernel::{HostKernel, HostKernelChoice, Trimmed};
pub use initramfs::Initramfs;
pub use modules::Module;
pub use oracle::sev_snp_measure;
pub use packages::install_missing;
pub use rig::{Options, Rig};
pub use run::{DIED, Outcome, RunSpec, SILENT, TIMEOUT};
pub use tools::Tools;
