//! What the rig's host kernel boots with: its initial file system and its command line.

use crate::{
    cpio::Cpio,
    error::{FileContext, Result},
    guest::GuestKernel,
    host_kernel::HostKernel,
    initramfs::Initramfs,
    run::RunSpec,
    tools::Tools,
    tsc,
};
use std::{env, fs, path::Path};

const INIT: &str = include_str!("../assets/l1-init.sh");
/// The host's command line.
///
/// `init_on_alloc=1` is not for safety. virtiofsd writes file contents into the host's memory without QEMU's knowledge;
/// what QEMU once translated from these pages would stay valid, and programs run the code of others. Pages that the
/// host's kernel clears before it lends them out are written by the emulated processor, which drops translations.
///
/// `tsc_early_khz`: on a busy machine the kernel's own measurement, against timers that stand still while QEMU is not
/// scheduled, is off by factors, and so are then its clock and the guests'.
///
/// `isolcpus=0`: nothing but the kernel's own work on the first processor, see [`RESERVED_PROCESSORS`].
pub(crate) fn command_line() -> String {
    let khz = tsc::khz();
    format!(
        "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr random.trust_cpu=on init_on_alloc=1 \
         isolcpus=0 tsc=reliable tsc_early_khz={khz}"
    )
}

/// Processors of the host on which no command runs, the first ones.
///
/// They keep a bug of QEMU's (10.0 to 11.1 at least) from doing harm. Whenever any emulated processor loads FPU state
/// (FXRSTOR, XRSTOR) in which no exception is pending, its thread clears HF2_IGNNE in the `hflags2` of the *first*
/// processor: `cpu_clear_ignne` in target/i386 reads the word, changes it and writes it back, without a lock. The same
/// word says whether the first processor runs a guest, and whether under nested paging and with interrupts on. Where the
/// first processor enters or leaves a guest between that read and that write, its own change of the word is lost, and it
/// goes on half as host and half as guest: guests and host crash at random. A first processor that never runs a guest
/// has nothing to lose.
pub(crate) const RESERVED_PROCESSORS: u32 = 1;

/// Modules that the host needs where its kernel has them as modules.
const MODULES: [&str; 10] = [
    "virtio_pci",
    "virtio_console",
    "virtiofs",
    "overlay",
    "kvm_amd",
    "vhost_vsock",
    "vhost_net",
    "tun",
    "vsock_loopback",
    "loop",
];

/// Writes the initial file system for one run.
pub(crate) fn write_initramfs(tools: &Tools, kernel: &HostKernel, run: &RunSpec, path: &Path) -> Result<()> {
    let mut base = Initramfs::new();
    base.add("bin/busybox", 0o755, &tools.busybox())?;
    base.file("init", 0o755, INIT.as_bytes());
    let mut release = String::from("none");
    if let Some(dir) = &kernel.modules {
        let kernel = GuestKernel::load(dir)?;
        base.modules(&kernel.modules_for(&MODULES))?;
        release = kernel.version;
    }
    base.file("m/release", 0o644, release.as_bytes());
    for dir in ["proc", "sys", "dev", "lower", "upper", "new"] {
        base.dir(dir);
    }
    let mut bytes = base.finish();
    // A second archive behind the first: Linux unpacks both.
    let mut extra = Cpio::default();
    extra.dir("rig");
    let dir = run.rw_dir.as_deref().map(|dir| dir.to_string_lossy().into_owned()).unwrap_or_default();
    extra.file("rig/config", 0o644, format!("RIG_DIR={}\n", quote(&dir)).as_bytes());
    extra.file("rig/command", 0o755, command_script(run).as_bytes());
    bytes.extend(extra.finish());
    fs::write(path, bytes).file("write", path)
}

/// The script that runs the command as if it were run here: directory, search path, environment.
fn command_script(run: &RunSpec) -> String {
    let mut script = String::from("export RIG=1 TERM=dumb LANG=C.UTF-8\n");
    let inherited =
        ["PATH", "HOME", "CLOISTER_CACHE", "XDG_CACHE_HOME", "CARGO_HOME", "RUSTUP_HOME", "CARGO_TARGET_DIR"];
    let inherited = inherited.iter().filter_map(|name| Some(((*name).to_owned(), env::var(name).ok()?)));
    for (name, value) in inherited.chain(run.env.iter().cloned()) {
        script.push_str(&format!("export {name}={}\n", quote(&value)));
    }
    script.push_str(&format!("cd {} || exit 1\n{}\n", quote(&run.cwd.to_string_lossy()), run.command));
    script
}

/// A word for the shell, whatever is in it.
pub(crate) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn quotes_survive() {
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's"), r"'it'\''s'");
    }
}
