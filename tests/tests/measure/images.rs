//! Firmware images: found, never made up; what cannot be had is said.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use cloister_firmware::ovmf::Firmware;
use sha2::{Digest, Sha256};

use super::vectors::json;

/// Debian's build for SEV-SNP.
pub(super) const AMDSEV: &str = "OVMF.amdsev.fd";
/// Debian's build for TDX.
pub(super) const INTELTDX: &str = "OVMF.inteltdx.ms.fd";

/// The directory with vectors and images: `$CLOISTER_VECTORS`, or one beside the source tree.
fn vectors_dir() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let named = std::env::var_os("CLOISTER_VECTORS").map(PathBuf::from);
    named.or(Some(beside)).map(|dir| dir.join("measure")).filter(|dir| dir.is_dir())
}

/// The bytes of one of Debian's images, whose SHA-256 is right.
pub(super) fn debian(name: &str) -> Vec<u8> {
    let bytes = fs::read(debian_path(name)).unwrap();
    let want = json()["firmware"][format!("firmware/{name}")].as_str().unwrap();
    let found = hex::encode(Sha256::digest(&bytes));
    assert_eq!(
        found, want,
        "{name} is not that of 2026.08+ds-2: if Debian has a newer one, set CLOISTER_VECTORS to a directory \
         with measure/firmware/{name}.gz"
    );
    bytes
}

/// The same as a parsed image.
pub(super) fn firmware(name: &str) -> Firmware {
    Firmware::parse(debian(name)).unwrap()
}

/// The path of one of Debian's images, unpacked.
pub(super) fn debian_path(name: &str) -> PathBuf {
    static UNPACKED: OnceLock<PathBuf> = OnceLock::new();
    UNPACKED
        .get_or_init(|| unpacked().unwrap_or_else(|why| panic!("no firmware images to test with: {why}")))
        .join(name)
}

fn unpacked() -> Result<PathBuf, String> {
    let packed = vectors_dir().map(|dir| dir.join("firmware"));
    let Some(packed) = packed.filter(|dir| dir.join(format!("{AMDSEV}.gz")).is_file()) else {
        return cloister_rig::firmware_images().map_err(|e| e.to_string());
    };
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("firmware");
    fs::create_dir_all(&to).map_err(|e| e.to_string())?;
    for name in [AMDSEV, INTELTDX] {
        let gzip = Command::new("gzip").arg("-dc").arg(packed.join(format!("{name}.gz"))).output();
        let gzip = gzip.map_err(|e| format!("gzip: {e}"))?;
        if !gzip.status.success() {
            return Err(format!("gzip: {}", String::from_utf8_lossy(&gzip.stderr)));
        }
        fs::write(to.join(name), gzip.stdout).map_err(|e| e.to_string())?;
    }
    Ok(to)
}

/// An image of others, by its name: in `extra/` of the vectors, or else fetched.
///
/// None where their archives cannot be reached: `cargo xtask test` then says in its summary, which is where
/// `$CLOISTER_NOTES` goes, what was not checked. Nobody else is told, so there it is a failure.
pub(super) fn published(name: &str) -> Option<Vec<u8>> {
    let extra = vectors_dir().map(|dir| dir.join("extra").join(name)).filter(|path| path.is_file());
    let path = match extra {
        Some(path) => path,
        None => match cloister_rig::published_firmware() {
            Ok(dir) => dir.join(name),
            Err(why) => {
                let Some(notes) = std::env::var_os("CLOISTER_NOTES") else {
                    panic!("no published firmware to test with: {why}");
                };
                let mut notes = fs::File::options().create(true).append(true).open(notes).unwrap();
                let cause = why.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
                writeln!(notes, "not checked: what is published of {name}: {cause}").unwrap();
                return None;
            }
        },
    };
    Some(fs::read(path).unwrap())
}

/// One of the two suffixes, from the repository.
pub(super) fn suffix(name: &str) -> Firmware {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("vectors/measure/{name}.hex"));
    let text: String = fs::read_to_string(path).unwrap().split_whitespace().collect();
    Firmware::parse(hex::decode(text).unwrap()).unwrap()
}
