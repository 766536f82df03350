//! Initial file systems for guests: busybox, modules, a script, and whatever a test puts in.

use crate::{
    cpio::Cpio,
    error::{FileContext, Result},
    exec,
    guest::GuestKernel,
    modules::Module,
    tools::Tools,
};
use std::{collections::BTreeSet, fs, path::Path, process::Command};

const GUEST_INIT: &str = include_str!("../assets/guest-init.sh");

/// The modules that [`Initramfs::guest`] loads.
const GUEST_MODULES: [&str; 10] = [
    "virtio_pci",
    "virtio_console",
    "virtio_rng",
    "vmw_vsock_virtio_transport",
    "virtio_blk",
    "pvpanic_pci",
    "tsm",
    "sev_guest",
    "tdx_guest",
    "virtiofs",
];

/// An initial file system being put together.
#[derive(Clone, Debug, Default)]
pub struct Initramfs {
    cpio: Cpio,
    dirs: BTreeSet<String>,
    modules: String,
}

impl Initramfs {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that boots: busybox and its applets, the modules of virtio devices and of attestation, and an `/init` which
    /// mounts `/proc`, `/sys`, `/dev`, loads the modules, runs `script` (a shell script) and powers the guest off.
    pub fn guest(tools: &Tools, kernel: &GuestKernel, script: &str) -> Result<Self> {
        let mut this = Self::new();
        this.busybox(tools)?;
        this.modules(&kernel.modules_for(&GUEST_MODULES))?;
        this.file("init", 0o755, GUEST_INIT.as_bytes());
        this.file("script", 0o755, script.as_bytes());
        Ok(this)
    }

    /// Adds busybox as `/bin/busybox`, with `/bin/sh` and the other commands as links to be made by
    /// `busybox --install -s /bin`, mount points, and `/dev/console`.
    pub fn busybox(&mut self, tools: &Tools) -> Result<&mut Self> {
        for dir in ["proc", "sys", "dev", "run", "tmp", "root", "etc", "mnt"] {
            self.dir(dir);
        }
        self.cpio.character_device("dev/console", 0o600, 5, 1);
        self.add("bin/busybox", 0o755, &tools.busybox())?;
        self.cpio.symlink("bin/sh", "busybox");
        Ok(self)
    }

    /// Adds modules as `/m/…`, to be loaded in the order of `/m/list`.
    pub fn modules(&mut self, modules: &[&Module]) -> Result<&mut Self> {
        for module in modules {
            let name = format!("{}.ko", module.name);
            self.add(&format!("m/{name}"), 0o644, &module.path)?;
            self.modules.push_str(&name);
            self.modules.push('\n');
        }
        Ok(self)
    }

    /// Adds a file with this content; directories above it come by themselves.
    pub fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> &mut Self {
        let name = name.trim_start_matches('/');
        if let Some((parent, _)) = name.rsplit_once('/') {
            self.dir(parent);
        }
        self.cpio.file(name, mode, content);
        self
    }

    /// Adds a copy of a file of this machine.
    pub fn add(&mut self, name: &str, mode: u32, from: &Path) -> Result<&mut Self> {
        let content = fs::read(from).file("read", from)?;
        Ok(self.file(name, mode, &content))
    }

    /// Adds a directory, and those above it.
    pub fn dir(&mut self, name: &str) -> &mut Self {
        let name = name.trim_matches('/');
        if let Some((parent, _)) = name.rsplit_once('/') {
            self.dir(parent);
        }
        if self.dirs.insert(name.to_owned()) {
            self.cpio.dir(name);
        }
        self
    }

    /// The archive, uncompressed.
    pub fn finish(mut self) -> Vec<u8> {
        let list = std::mem::take(&mut self.modules);
        self.file("m/list", 0o644, list.as_bytes());
        self.cpio.finish()
    }

    /// Writes the archive to a file, through gzip if its name ends in `.gz`.
    pub fn write(self, path: &Path) -> Result<()> {
        let mut bytes = self.finish();
        if path.extension().is_some_and(|extension| extension == "gz") {
            bytes = exec::filter(
                Command::new("gzip").args(["-nc6"]),
                &bytes,
                "install gzip, or use a name without .gz",
            )?;
        }
        fs::write(path, bytes).file("write", path)
    }
}

#[cfg(test)]
mod tests {
    use super::Initramfs;

    #[test]
    fn directories_come_once_and_before_their_files() {
        let mut fs = Initramfs::new();
        fs.file("/a/b/one", 0o644, b"1").file("a/b/two", 0o644, b"2");
        let bytes = fs.finish();
        let text = String::from_utf8_lossy(&bytes);
        let at = |name: &str| text.find(&format!("{name}\0")).unwrap_or_else(|| panic!("{name} is missing"));
        assert!(at("a") < at("a/b") && at("a/b") < at("a/b/one") && at("a/b/one") < at("a/b/two"));
        assert_eq!(text.matches("a/b\0").count(), 1);
    }
}
