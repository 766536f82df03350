//! Debian's kernels, unpacked into the cache: image, uncompressed image, modules.

use crate::{
    archive::{self, Archive, Suite},
    bzimage,
    cache::{self, Cache},
    error::{Error, FileContext, Result},
    modules,
    tools::Tools,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A kernel to fetch.
pub(crate) struct Recipe {
    /// Its name in the cache; a new number makes every cache fetch it again.
    pub(crate) entry: &'static str,
    pub(crate) suite: Suite,
}

/// Linux 6.12: a guest, and the host until the trimmed one is built. No newer host: on 7.2, emulated like this, guests
/// with 6.12 crash in user space.
pub(crate) const LINUX_6_12: Recipe = Recipe { entry: "kernel-6.12-1", suite: Suite::Trixie };
/// The newest kernel that Debian has (7.2, when this was written).
pub(crate) const LINUX_NEWEST: Recipe = Recipe { entry: "kernel-newest-1", suite: Suite::Sid };

/// The package that depends on the newest image of the flavour for virtual machines.
const META: &str = "linux-image-cloud-amd64";

/// Modules that guests, or the rig's host, have a use for.
const WANTED: [&str; 26] = [
    "overlay",
    "loop",
    "fuse",
    "virtiofs",
    "virtio_pci",
    "virtio_mmio",
    "virtio_console",
    "virtio_blk",
    "virtio_net",
    "virtio_rng",
    "virtio_balloon",
    "virtio_mem",
    "vsock",
    "vmw_vsock_virtio_transport",
    "vsock_loopback",
    "ext4",
    "pvpanic_pci",
    "tsm",
    "tsm_core",
    "sev_guest",
    "tdx_guest",
    "kvm_amd",
    "vhost_vsock",
    "vhost_net",
    "tun",
    "tsm_measurements",
];
const REQUIRED: [&str; 6] =
    ["overlay", "vmw_vsock_virtio_transport", "virtio_blk", "virtio_console", "pvpanic_pci", "kvm_amd"];

/// Fetches a kernel, if it is not in the cache, and returns its directory.
pub(crate) fn prepare(cache: &Cache, tools: &Tools, recipe: &Recipe) -> Result<PathBuf> {
    cache.entry(recipe.entry, |scratch| {
        eprintln!(
            "rig: fetching a Linux kernel from Debian ({}, about 35 MB)",
            recipe.entry.trim_end_matches("-1")
        );
        let (packages, root) = (scratch.join("packages"), scratch.join("root"));
        let archive = Archive::open(cache, recipe.suite)?;
        archive.download(&image_packages(&archive)?, &packages)?;
        fs::create_dir_all(&root).file("create", &root)?;
        archive::unpack(&packages, &root)?;
        let release = release(&root)?;
        let tree = root.join("usr/lib/modules").join(&release);
        let image = [root.join(format!("boot/vmlinuz-{release}")), tree.join("vmlinuz")];
        let image = image.iter().find(|path| path.exists()).ok_or_else(|| unexpected("it has no vmlinuz"))?;
        let bytes = fs::read(image).file("read", image)?;
        let write = |name: &str, bytes: &[u8]| {
            let path = scratch.join(name);
            fs::write(&path, bytes).file("write", &path)
        };
        write("vmlinux", &bzimage::vmlinux(tools, &bytes)?)?;
        write("vmlinuz", &bytes)?;
        write("version", release.as_bytes())?;
        modules::collect(tools, &tree, &WANTED, &REQUIRED, &scratch.join("modules"))?;
        cache::remove(&packages)?;
        cache::remove(&root)
    })
}

/// The packages that make up the newest image: one, or since 7.x the three that it depends on.
fn image_packages(archive: &Archive) -> Result<Vec<String>> {
    let names = archive.depends(META)?;
    let image = names.into_iter().find(|name| name.starts_with("linux-image-"));
    let image = image.ok_or_else(|| unexpected(&format!("{META} depends on no image")))?;
    let flavour = image.trim_start_matches("linux-image-").to_owned();
    let parts = archive
        .depends(&image)?
        .into_iter()
        .filter(|name| name.starts_with("linux-") && name.ends_with(&flavour));
    Ok(parts.chain([image.clone()]).collect())
}

/// The one directory in `usr/lib/modules`.
fn release(root: &Path) -> Result<String> {
    let dir = root.join("usr/lib/modules");
    let entry =
        fs::read_dir(&dir).file("read", &dir)?.next().ok_or_else(|| unexpected("it has no modules"))?;
    Ok(entry.file("read", &dir)?.file_name().to_string_lossy().into_owned())
}

fn unexpected(why: &str) -> Error {
    Error::new(
        "Debian's kernel package is not what was expected",
        why,
        "tell the project: the packaging has changed",
    )
}
