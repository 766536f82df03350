//! The files of a measurement: each read once, hashed side by side.

use std::fs::File;
use std::path::Path;
use std::thread;

use cloister_firmware::explain::KernelInputs;
use cloister_firmware::igvm::IgvmFile;
use cloister_firmware::linux::Blob;
use cloister_firmware::measure::{MeasureError, PageHash, hash_pages};
use cloister_firmware::ovmf::Firmware;
use cloister_firmware::plan::{ImageFile, PageKind, PageRun};
use sha2::{Digest, Sha256};

use super::args::KernelArgs;
use super::{ahead, refuse, work};
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
    Kernel(Option<Result<Blob, Refusal>>),
    Pages(Result<Vec<PageHash>, MeasureError>),
    Sha256([u8; 32]),
}

impl Files {
    /// Reads the firmware, and hashes its pages, kernel and initrd.
    pub(super) fn load(path: &Path, handed: &KernelArgs, with_sha256: bool) -> Result<Self, Refusal> {
        let initrd = handed.initrd.as_deref().map(open).transpose()?;
        let kernel = handed.kernel.as_deref().map(open).transpose()?;
        let blob = |file: &Option<(&Path, File)>| {
            let (path, file) = file.as_ref()?;
            Some(ahead::hash(file).map_err(|e| unreadable(path, &e)))
        };
        thread::scope(|scope| {
            // The longest work first, while the firmware is still being read.
            let initrd = scope.spawn(|| blob(&initrd));
            if handed.initrd.is_some() {
                // Of this thread alone, and those that it starts: whoever reads and hashes the longest file, which
                // all wait for in the end, has the cores first. Where that is refused, it takes a little longer.
                let _ = rustix::process::nice(10);
            }
            let firmware = firmware(path)?;
            let run = image_run(&firmware);
            let pieces = run.pages.div_ceil(PIECE);
            let first_page = 1 + usize::from(with_sha256);
            let busy = usize::from(handed.initrd.is_some());
            let done = work::all_beside(busy, first_page + pieces as usize, |n| match n {
                0 => Piece::Kernel(blob(&kernel)),
                _ if n < first_page => Piece::Sha256(Sha256::digest(firmware.bytes()).into()),
                _ => Piece::Pages(hash_pages(&run, (n - first_page) as u64 * PIECE, PIECE)),
            });
            let (mut kernel, mut pages, mut sha256) = (None, Vec::new(), None);
            for piece in done {
                match piece {
                    Piece::Kernel(blob) => kernel = blob.transpose()?,
                    Piece::Pages(hashes) => pages.extend(hashes.map_err(|e| refuse("cannot measure", e))?),
                    Piece::Sha256(value) => sha256 = Some(value),
                }
            }
            let initrd =
                initrd.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).transpose()?;
            let cmdline = handed.cmdline.clone().unwrap_or_default();
            let kernel = kernel.map(|kernel| KernelInputs { kernel, initrd, cmdline });
            Ok(Files { firmware, pages, sha256, kernel })
        })
    }
}

/// Reads and parses a firmware image.
pub(super) fn firmware(path: &Path) -> Result<Firmware, Refusal> {
    let what = format!("cannot use the firmware {}", path.display());
    let file = ImageFile::open(path).map_err(|e| refuse(&what, e))?;
    if IgvmFile::is_igvm(&file) {
        let remedy = format!("measure it as such: `cloister measure igvm {}`", path.display());
        return Err(Refusal::new(what, "it is an IGVM file, not a firmware image", remedy));
    }
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
