//! Linux guests: an unmodified kernel, and an initramfs that runs a script.

use std::path::{Path, PathBuf};

use cloister_rig::{Cache, GuestKernel, Initramfs, Tools, guest_kernels};
use tempfile::TempDir;

/// How the kernel is given to the VMM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// The compressed image as the distribution ships it, by the 64-bit boot protocol.
    BzImage,
    /// The uncompressed ELF, by PVH.
    Vmlinux,
}

/// All guest kernels, oldest first.
pub fn kernels() -> Vec<GuestKernel> {
    guest_kernels().expect("guest kernels; `cargo xtask test` provides them")
}

/// Files to boot one guest from, and a directory for its sockets and logs.
pub struct Guest {
    /// The kernel file.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initrd: PathBuf,
    /// The kernel's version, as `uname -r` says it.
    pub version: String,
    dir: TempDir,
}

impl Guest {
    /// A guest of `kernel` that runs `script` (a busybox shell script) and switches itself off. The
    /// agent is in its path as `cloister-agent`.
    pub fn new(kernel: &GuestKernel, image: Image, script: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let tools = Cache::open().and_then(|c| Tools::prepare(&c)).expect("the rig's tools");
        let mut initramfs = Initramfs::guest(&tools, kernel, script).expect("an initramfs");
        let agent = std::env::var_os("CLOISTER_AGENT").expect("CLOISTER_AGENT names the agent");
        initramfs.add("bin/cloister-agent", 0o755, Path::new(&agent)).expect("the agent");
        let initrd = dir.path().join("initrd");
        initramfs.write(&initrd).expect("writing the initramfs");
        let kernel_file = match image {
            Image::BzImage => &kernel.bzimage,
            Image::Vmlinux => &kernel.vmlinux,
        };
        Guest { kernel: kernel_file.clone(), initrd, version: kernel.version.clone(), dir }
    }

    /// A guest of the oldest kernel, as bzImage.
    pub fn running(script: &str) -> Self {
        Guest::new(&kernels()[0], Image::BzImage, script)
    }

    /// A path in the guest's own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The flags of `cloister run` that boot it, without platform, devices and command line.
    pub fn flags(&self) -> Vec<String> {
        let text = |p: &Path| p.to_str().expect("a UTF-8 path").to_owned();
        vec!["--kernel".into(), text(&self.kernel), "--initrd".into(), text(&self.initrd)]
    }

    /// The flag value of a vsock device with its socket in the guest's directory.
    pub fn vsock(&self) -> String {
        format!("cid=3,path={}", self.path("vm.sock").display())
    }
}
