//! What the whole-machine tests share: a guest with a script in its initramfs, and a `cloister` run
//! whose output and exit status can be waited for.
//!
//! Where things are comes from the environment, which `cargo xtask test` sets: `CLOISTER_BIN`,
//! `CLOISTER_AGENT`, `CLOISTER_PAYLOAD`, `CLOISTER_GUEST_KERNELS`.

mod bare;
mod esp;
mod firmware;
mod guest;
mod held;
mod run;

pub use bare::{BareVm, Hand, Stopped, bytes};
pub use firmware::{boot_disk, ovmf, ovmf_amdsev};
pub use guest::{Guest, Image, kernels};
pub use held::{HeldBefore, HeldMemory};
pub use run::{Run, Started, cloister};
