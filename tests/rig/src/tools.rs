//! The programs that the rig runs, from Debian's archive, in a directory of their own and through their own loader:
//! the machine's QEMU, C library and packages do not matter.

use crate::{
    archive::{self, Archive, Suite},
    cache::{self, Cache},
    error::{Error, FileContext, Result},
    exec, qemu_patch,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A new number makes every cache fetch the programs again.
///
/// Older QEMUs would not do. 7.2, in Debian 12, does not intercept a nested guest's XSETBV. 10.0, in Debian 13, sets and
/// clears the virtual interrupt in `vmrun` and at its end by plain instructions and without a lock, in a word where
/// other threads set a processor's interrupts: now and then one is lost, and a processor of the rig's host sleeps on.
const ENTRY: &str = "tools-2";
const PACKAGES: [&str; 6] = ["qemu-system-x86", "virtiofsd", "busybox-static", "xz-utils", "zstd", "lz4"];
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// QEMU as it comes, the copy that runs OVMF in nested guests, and the file that says why there is no such copy.
const QEMU: &str = "usr/bin/qemu-system-x86_64";
const QEMU_PATCHED: &str = "usr/bin/qemu-system-x86_64.patched";
const QEMU_UNPATCHED: &str = "usr/bin/qemu-system-x86_64.unpatched";

/// QEMU, virtiofsd, busybox and the decompressors.
#[derive(Clone, Debug)]
pub struct Tools {
    root: PathBuf,
}

impl Tools {
    /// Fetches the programs, if they are not in the cache (40 MB; 160 MB unpacked).
    pub fn prepare(cache: &Cache) -> Result<Self> {
        let root = cache.entry(ENTRY, |scratch| {
            eprintln!("rig: fetching QEMU and its companions from Debian (40 MB)");
            let packages = scratch.join("packages");
            Archive::open(cache, Suite::TrixieBackports)?.download_closure(&PACKAGES, &packages)?;
            archive::unpack(&packages, scratch)?;
            for waste in ["packages", "usr/share/doc", "usr/share/man", "usr/share/locale", "var"] {
                cache::remove(&scratch.join(waste))?;
            }
            patch_qemu(scratch)
        })?;
        Ok(Self { root })
    }

    /// Whether a guest in the rig can run OVMF; on a real processor, any can.
    ///
    /// It takes a QEMU without one assertion (see `qemu_patch`), which could not be made if this QEMU is not as known.
    pub fn runs_ovmf(&self) -> Result<()> {
        if self.root.join(QEMU_PATCHED).exists() {
            return Ok(());
        }
        Err(Error::new(
            "OVMF cannot run in the rig's guests: QEMU would abort",
            fs::read_to_string(self.root.join(QEMU_UNPATCHED)).unwrap_or_default(),
            "tell the project, which must learn to mend this QEMU; or use a machine with hardware virtualisation",
        ))
    }

    /// The statically linked busybox.
    pub fn busybox(&self) -> PathBuf {
        ["bin/busybox", "usr/bin/busybox"]
            .iter()
            .map(|path| self.root.join(path))
            .find(|path| path.exists())
            .unwrap_or_default()
    }

    /// QEMU for x86-64, told where its firmware and modules are.
    pub fn qemu(&self) -> Command {
        let mut command = self.command(if self.runs_ovmf().is_ok() { QEMU_PATCHED } else { QEMU });
        command.env("QEMU_MODULE_DIR", self.root.join(LIBRARIES).join("qemu"));
        for data in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
            command.arg("-L").arg(self.root.join(data));
        }
        command
    }

    /// The virtio-fs daemon.
    pub fn virtiofsd(&self) -> Command {
        self.command("usr/libexec/virtiofsd")
    }

    /// Reads a file which may be compressed, by its extension, with `.xz`, `.zst` or `.gz`.
    pub(crate) fn read_compressed(&self, path: &Path) -> Result<Vec<u8>> {
        let bytes = fs::read(path).file("read", path)?;
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("xz" | "zst" | "gz") => self.decompress(&bytes).map_err(|error| {
                Error::new(
                    format!("cannot decompress {}", path.display()),
                    error.to_string(),
                    "delete the cache directory and run again",
                )
            }),
            _ => Ok(bytes),
        }
    }

    /// Decompresses what begins with the magic number of gzip, xz, Zstandard or (legacy) LZ4.
    pub(crate) fn decompress(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let program = match bytes {
            [0x1f, 0x8b, ..] => {
                return exec::filter(
                    Command::new(self.busybox()).args(["gzip", "-dc"]),
                    bytes,
                    "delete the cache directory",
                );
            }
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "usr/bin/xz",
            [0x28, 0xb5, 0x2f, 0xfd, ..] => "usr/bin/zstd",
            [0x02, 0x21, 0x4c, 0x18, ..] => "usr/bin/lz4",
            _ => {
                return Err(Error::new(
                    "cannot decompress",
                    format!("unknown magic number {:02x?}", &bytes[..bytes.len().min(6)]),
                    "gzip, xz, zstd and lz4 are known; use a kernel compressed with one of them",
                ));
            }
        };
        exec::filter(
            self.command(program).args(["-dc", "-"]),
            bytes,
            "delete the cache directory and run again",
        )
    }

    /// A program of the prefix, run by the prefix's own loader.
    fn command(&self, program: &str) -> Command {
        let libraries = self.root.join(LIBRARIES);
        let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(&libraries).arg(self.root.join(program));
        command
    }
}

/// Makes the copy of QEMU that runs OVMF in nested guests, or writes why not.
fn patch_qemu(root: &Path) -> Result<()> {
    let qemu = root.join(QEMU);
    let program = fs::read(&qemu).file("read", &qemu)?;
    let (name, bytes) = match qemu_patch::without_assertion(&program) {
        Ok(patched) => (QEMU_PATCHED, patched),
        Err(why) => {
            eprintln!("rig: QEMU is used as it is, and guests with OVMF would abort it: {why}");
            (QEMU_UNPATCHED, why.into_bytes())
        }
    };
    let path = root.join(name);
    fs::write(&path, bytes).file("write", &path)
}
