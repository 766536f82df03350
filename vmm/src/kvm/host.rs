//! The host's `/dev/kvm`: opened once, with a message that helps when it cannot be.

use std::sync::Arc;

use kvm_ioctls::Kvm;
use snafu::{ResultExt, Snafu, ensure};

/// Why this host cannot run a VM. Each message is three lines: what, why, what to do.
#[derive(Debug, Snafu)]
pub(crate) enum HostError {
    #[snafu(display(
        "cannot open /dev/kvm\n  why: {source}\n  do:  {}",
        remedy(source.errno())
    ))]
    Open { source: kvm_ioctls::Error },
    #[snafu(display(
        "/dev/kvm speaks API version {version}, not 12\n  why: this is not a KVM that cloister knows\n  do:  run a Linux host of version 6.8 or later"
    ))]
    Version { version: i32 },
}

fn remedy(errno: i32) -> &'static str {
    match errno {
        libc::ENOENT => {
            "load the module (modprobe kvm_amd or kvm_intel) and switch virtualisation on in the firmware setup"
        }
        libc::EACCES | libc::EPERM => "add your user to the group that owns /dev/kvm: usermod -aG kvm $USER",
        _ => "see the kernel's log (dmesg | grep -i kvm)",
    }
}

/// The host as a place to run VMs.
pub(crate) struct Host {
    pub(crate) kvm: Arc<Kvm>,
}

impl Host {
    pub(crate) fn open() -> Result<Self, HostError> {
        let kvm = Kvm::new().context(OpenSnafu)?;
        let version = kvm.get_api_version();
        ensure!(version == 12, VersionSnafu { version });
        Ok(Host { kvm: Arc::new(kvm) })
    }
}
