//! A guest's specification, as flags and as a TOML file with the same names.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::ValueEnum;
use cloister_coco::launch::{PlatformKind, Request};
use serde::Deserialize;

use super::{ConsoleSpec, DiskSpec, FileSpec, Size, VsockSpec};
use crate::refusal::Refusal;

/// What to launch the guest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CocoSpec {
    /// The best that host and guest allow; says what it chose and why
    Auto,
    /// AMD SEV-SNP
    Snp,
    /// Intel TDX
    Tdx,
    /// KVM's software-protected VM: real private memory, no protection from the host
    Protected,
    /// The simulator: every step and every check, software in the hardware's place
    Sim,
    /// A plain VM
    Off,
}

impl From<CocoSpec> for Request {
    fn from(spec: CocoSpec) -> Self {
        match spec {
            CocoSpec::Auto => Request::Auto,
            CocoSpec::Snp => Request::Exactly(PlatformKind::Snp),
            CocoSpec::Tdx => Request::Exactly(PlatformKind::Tdx),
            CocoSpec::Protected => Request::Exactly(PlatformKind::Protected),
            CocoSpec::Sim => Request::Exactly(PlatformKind::Sim),
            CocoSpec::Off => Request::Exactly(PlatformKind::Off),
        }
    }
}

/// A guest. What a flag says wins over what the file says.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct VmSpec {
    /// Firmware image (OVMF): boots the kernel if one is given, else from a disk
    #[arg(long, value_name = "FILE")]
    pub(crate) firmware: Option<PathBuf>,
    /// Linux kernel: a bzImage (booted by the 64-bit boot protocol) or an uncompressed ELF (by PVH)
    #[arg(long, value_name = "FILE")]
    pub(crate) kernel: Option<PathBuf>,
    /// Initial RAM disk
    #[arg(long, value_name = "FILE")]
    pub(crate) initrd: Option<PathBuf>,
    /// Kernel command line
    #[arg(long, value_name = "TEXT")]
    pub(crate) cmdline: Option<String>,
    /// Memory: 512M, 2G [default: 512M]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<Size>,
    /// Number of vCPUs [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) cpus: Option<u32>,
    /// vsock device: cid=N,path=SOCKET. The host connects to SOCKET and writes "CONNECT port"; what
    /// listens at SOCKET_P gets the guest's connections to port P of the host
    #[arg(long, value_name = "cid=N,path=SOCKET")]
    pub(crate) vsock: Option<VsockSpec>,
    /// Disk, a raw image; once for each. Firmware boots from the first that it can
    #[arg(long, value_name = "path=FILE,readonly=on")]
    pub(crate) disk: Option<Vec<DiskSpec>>,
    /// Serial console: stdio, off or file=PATH [default: stdio for a plain guest, off for others,
    /// whose output the host should not see]
    #[arg(long, value_name = "WHERE")]
    pub(crate) console: Option<ConsoleSpec>,
    /// Where the firmware's log goes
    #[arg(long, value_name = "file=PATH")]
    pub(crate) debug_console: Option<FileSpec>,
    /// What to launch the guest on [default: auto]
    #[arg(long, value_enum, value_name = "PLATFORM")]
    pub(crate) coco: Option<CocoSpec>,
    /// Refuse to run the guest on anything but confidential hardware
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub(crate) require_coco: Option<bool>,
    /// Attest the guest against this policy over vsock and release its secrets
    #[arg(long, value_name = "POLICY")]
    pub(crate) attest: Option<PathBuf>,
    /// End when the guest resets, instead of building it anew
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub(crate) no_reboot: Option<bool>,
}

impl VmSpec {
    /// Reads a file with the same names as the flags. Unknown keys are errors.
    pub(crate) fn read(path: &Path) -> Result<Self, Refusal> {
        let what = || format!("cannot use the configuration {}", path.display());
        let text = std::fs::read_to_string(path)
            .map_err(|e| Refusal::new(what(), e, "give the path of a readable TOML file"))?;
        toml::from_str(&text).map_err(|e| {
            let before = e.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let why = format!("line {line}: {}", e.message().replace('\n', " "));
            Refusal::new(what(), why, "mend the line; `cloister run --help` lists the keys")
        })
    }

    /// This specification, and where it is silent, `under`.
    pub(crate) fn over(self, under: VmSpec) -> VmSpec {
        VmSpec {
            firmware: self.firmware.or(under.firmware),
            kernel: self.kernel.or(under.kernel),
            initrd: self.initrd.or(under.initrd),
            cmdline: self.cmdline.or(under.cmdline),
            memory: self.memory.or(under.memory),
            cpus: self.cpus.or(under.cpus),
            vsock: self.vsock.or(under.vsock),
            disk: self.disk.or(under.disk),
            console: self.console.or(under.console),
            debug_console: self.debug_console.or(under.debug_console),
            coco: self.coco.or(under.coco),
            require_coco: self.require_coco.or(under.require_coco),
            attest: self.attest.or(under.attest),
            no_reboot: self.no_reboot.or(under.no_reboot),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_flags_have_one_schema() {
        let file: VmSpec = toml::from_str(
            "kernel = 'k'\nmemory = '1G'\ncpus = 2\ncoco = 'sim'\nno-reboot = true\n\
             vsock = { cid = 3, path = 's' }\nconsole = 'file=log'\nfirmware = 'f'\n\
             disk = [{ path = 'd', readonly = true }]\ndebug-console = 'file=log'",
        )
        .unwrap();
        let flags = VmSpec { cpus: Some(4), ..VmSpec::default() };
        let both = flags.over(file);
        assert_eq!((both.cpus, both.memory), (Some(4), Some(Size(1 << 30))));
        assert_eq!(both.coco, Some(CocoSpec::Sim));
        assert_eq!(both.disk, Some(vec!["path=d,readonly=on".parse().unwrap()]));
        assert_eq!(both.debug_console, Some(FileSpec("log".into())));
        assert_eq!(both.console, Some(ConsoleSpec::File("log".into())));
    }

    #[test]
    fn unknown_keys_are_errors_with_their_place() {
        for bad in ["kernal = 'k'", "vsock = { cid = 3, path = 's', uid = 0 }", "memory = 5"] {
            assert!(toml::from_str::<VmSpec>(bad).is_err(), "{bad}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vm.toml");
        std::fs::write(&path, "cpus = 1\nkernal = 'k'\n").unwrap();
        let message = VmSpec::read(&path).unwrap_err().to_string();
        assert!(message.contains("line 2") && message.contains("kernal"), "{message}");
    }
}
