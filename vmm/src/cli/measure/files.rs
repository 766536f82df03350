//! The files of a measurement: each read once, hashed side by side.

use std::fs::File;
use std::path::Path;

use cloister_firmware::explain::KernelInputs;
use cloister_firmware::linux::Blob;
use cloister_firmware::measure::{MeasureError, PageHash, hash_pages};
use cloister_firmware::ovmf::Firmware;
use cloister_firmware::plan::{ImageFile, PageKind, PageRun};
use sha2::{Digest, Sha256};

use super::args::KernelArgs;
use super::{refuse, work};
use crate::refusal::Refusal;

/// Pages of firmware that one piece of work hashes: a fraction of a millisecond.
const PIECE: u64 = 64;

/// Firmware, and what it is handed.
pub(super) struct Files {
    pub(super) firmware: Firmware,
    /// Hashes of the firmware's pages, in order.
    pub(super) pages: Vec<PageHash>,
    /// SHA-256 of the firmware, if it was asked for.
    pub(super) sha256: Option<[u8; 32]>,
    pub(super) kernel: Option<KernelInputs>,
}

/// What one piece of work comes to.
enum Piece {
    Blob(std::io::Result<Blob>),
    Pages(Result<Vec<PageHash>, MeasureError>),
    Sha256([u8; 32]),
}

impl Files {
    /// Reads the firmware, and hashes its pages, kernel and initrd.
    pub(super) fn load(path: &Path, handed: &KernelArgs, with_sha256: bool) -> Result<Self, Refusal> {
        let firmware = firmware(path)?;
        let run = image_run(&firmware);
        // The longest work first.
        let blobs: Vec<(&Path, File)> = [&handed.initrd, &handed.kernel]
            .into_iter()
            .flatten()
            .map(|p| open(p))
            .collect::<Result<_, _>>()?;
        let pieces = run.pages.div_ceil(PIECE);
        let first_page = blobs.len() + usize::from(with_sha256);
        let done = work::all(first_page + pieces as usize, |n| match blobs.get(n) {
            Some((_, file)) => Piece::Blob(Blob::read(file)),
            None if n < first_page => Piece::Sha256(Sha256::digest(firmware.bytes()).into()),
            None => Piece::Pages(hash_pages(&run, (n - first_page) as u64 * PIECE, PIECE)),
        });
        let (mut hashed, mut pages, mut sha256) = (Vec::new(), Vec::new(), None);
        for (n, piece) in done.into_iter().enumerate() {
            match piece {
                Piece::Blob(blob) => hashed.push(blob.map_err(|e| unreadable(blobs[n].0, &e))?),
                Piece::Pages(hashes) => pages.extend(hashes.map_err(|e| refuse("cannot measure", e))?),
                Piece::Sha256(value) => sha256 = Some(value),
            }
        }
        let kernel = handed.kernel.as_ref().and_then(|_| hashed.pop()).map(|kernel| KernelInputs {
            kernel,
            initrd: hashed.pop(),
            cmdline: handed.cmdline.clone().unwrap_or_default(),
        });
        Ok(Files { firmware, pages, sha256, kernel })
    }
}

/// Reads and parses a firmware image.
pub(super) fn firmware(path: &Path) -> Result<Firmware, Refusal> {
    let what = format!("cannot use the firmware {}", path.display());
    let file = ImageFile::open(path).map_err(|e| refuse(&what, e))?;
    Firmware::read(&file).map_err(|e| refuse(&what, e))
}

/// Hashes of the pages of an image, made on all cores.
pub(super) fn pages(firmware: &Firmware) -> Result<Vec<PageHash>, Refusal> {
    let run = image_run(firmware);
    let pieces = work::all(run.pages.div_ceil(PIECE) as usize, |n| hash_pages(&run, n as u64 * PIECE, PIECE));
    let pieces: Result<Vec<_>, _> = pieces.into_iter().collect();
    Ok(pieces.map_err(|e| refuse("cannot measure", e))?.concat())
}

fn image_run(firmware: &Firmware) -> PageRun {
    PageRun::bytes(firmware.base(), PageKind::Measured, "firmware", firmware.shared_bytes())
}

/// Anything that can be read once will do: it is hashed, not loaded.
fn open(path: &Path) -> Result<(&Path, File), Refusal> {
    File::open(path).map(|file| (path, file)).map_err(|e| unreadable(path, &e))
}

pub(super) fn unreadable(path: &Path, e: &std::io::Error) -> Refusal {
    Refusal::new(format_args!("cannot read {}", path.display()), e, "give the path of a readable file")
}
