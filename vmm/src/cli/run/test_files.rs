//! Files to plan tests with: just enough of a kernel and of each kind of firmware.

use std::path::{Path, PathBuf};

use crate::config::VmSpec;

#[path = "../../../tests/images/mod.rs"]
mod images;

pub(super) use images::TD_HOB;
use images::{boot_header, tdvf};

/// A directory with `kernel`, `initrd`, and firmware: `amdsev` (checks kernels), `x64` (does not), `tdvf`,
/// `bare` (for no platform).
pub(super) struct Files(tempfile::TempDir);

impl Files {
    pub(super) fn new() -> Self {
        let files = Files(tempfile::tempdir().unwrap());
        let suffix = |text: &str| hex::decode(text.split_whitespace().collect::<String>()).unwrap();
        for (name, bytes) in [
            ("kernel", bzimage()),
            ("initrd", vec![7; 5000]),
            // The last pages of OVMF's builds: enough to launch, and their digests are published.
            ("amdsev", suffix(include_str!("../../../../tests/vectors/measure/ovmf_AmdSev_suffix.hex"))),
            ("x64", suffix(include_str!("../../../../tests/vectors/measure/ovmf_OvmfX64_suffix.hex"))),
            ("tdvf", tdvf()),
            ("bare", vec![0; 4096]),
        ] {
            std::fs::write(files.path(name), bytes).unwrap();
        }
        files
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A guest with this firmware, and the kernel if `kernel`, as `--coco` says.
    pub(super) fn spec(&self, firmware: Option<&str>, kernel: bool, coco: &str) -> VmSpec {
        VmSpec {
            firmware: firmware.map(|name| self.path(name)),
            kernel: kernel.then(|| self.path("kernel")),
            coco: Some(coco.parse().unwrap()),
            ..VmSpec::default()
        }
    }

    pub(super) fn dir(&self) -> &Path {
        self.0.path()
    }
}

fn bzimage() -> Vec<u8> {
    let mut image = vec![0x90; 0x800];
    boot_header(&mut image);
    image
}

/// A published test key of virtee/sev (Apache-2.0), commit 9cf2adb, `tests/measurement/test_id_key.pem`. It
/// protects nothing.
pub(super) const ID_KEY: &str = "-----BEGIN PRIVATE KEY-----
MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDDPZQkU2FP1ii90R+e7
/ShQ/rzUzsS8X7kVJ0nJAxcrS1oMD8nKjfsKKfBWJ8nbCyqhZANiAAT2dj5NJgnP
GyzyLyzIuMpM9V1HDDwjVSyTsWiHQ5Ddlcs/3uhH3fef8p77uIA8bR/M16jQR7nN
wcdQsRkKvm0drTeo3ssUMnt2Zhn3EmB8/Q04hTxQ2pvNCAs1OJyTvj4=
-----END PRIVATE KEY-----
";
