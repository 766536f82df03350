//! What the firmware is handed through fw_cfg to boot, and what of it arrives.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use cloister_devices::platform::{Blob, Content, FwCfgItems, ItemError, Key};
use cloister_firmware::linux::KernelHashes;
use cloister_firmware::plan::ImageFile;
use sha2::{Digest, Sha256};

/// A kernel that the firmware boots, each part as its file has it.
#[derive(Debug, Clone)]
pub(crate) struct Handover {
    pub(crate) kernel: ImageFile,
    /// Where in the file the setup part ends.
    pub(crate) code_offset: u64,
    pub(crate) initrd: Option<ImageFile>,
    /// Without its NUL.
    pub(crate) cmdline: String,
    /// What the firmware will check the parts against, if it does.
    pub(crate) expected: Option<KernelHashes>,
}

/// Where a loader of old puts a kernel (Documentation/arch/x86/boot.rst): told, and of no effect.
const KERNEL_ADDRESS: u32 = 1 << 20;

impl Handover {
    /// Offers the kernel through `items`; what is delivered goes by a witness, if it will be checked.
    pub(super) fn offer(
        &self,
        items: &mut FwCfgItems,
        progress: &Arc<Progress>,
    ) -> Result<Option<Arc<Witness>>, ItemError> {
        let Handover { kernel, code_offset, initrd, cmdline, expected } = self;
        let witness =
            expected.map(|e| Arc::new(Witness::new(e, kernel, initrd.as_ref(), Arc::clone(progress))));
        let part = |part, file: &ImageFile, start: u64, len: u64| -> (Vec<u8>, Content) {
            // Parts beyond 4 GiB were refused when the guest was planned.
            let size = u32::try_from(len).unwrap_or(u32::MAX);
            let blob = FilePart { file: file.clone(), start, size, part, witness: witness.clone() };
            (size.to_le_bytes().to_vec(), Content::Blob(Box::new(blob)))
        };
        let (size, data) = part(Part::Kernel, kernel, 0, *code_offset);
        items.add(Key::SETUP_SIZE, size)?;
        items.add(Key::SETUP_DATA, data)?;
        let (size, data) =
            part(Part::Kernel, kernel, *code_offset, kernel.len().saturating_sub(*code_offset));
        items.add(Key::KERNEL_ADDRESS, KERNEL_ADDRESS.to_le_bytes().to_vec())?;
        items.add(Key::KERNEL_SIZE, size)?;
        items.add(Key::KERNEL_DATA, data)?;
        if let Some(initrd) = initrd {
            let (size, data) = part(Part::Initrd, initrd, 0, initrd.len());
            items.add(Key::INITRD_SIZE, size)?;
            items.add(Key::INITRD_DATA, data)?;
        }
        let mut text = cmdline.clone().into_bytes();
        text.push(0);
        items.add(Key::CMDLINE_SIZE, u32::try_from(text.len()).unwrap_or(0).to_le_bytes().to_vec())?;
        items.add(Key::CMDLINE_DATA, text)?;
        Ok(witness)
    }
}

/// Which file a part is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Kernel,
    Initrd,
}

/// Bytes of a file, read when the firmware asks for them.
struct FilePart {
    file: ImageFile,
    start: u64,
    size: u32,
    part: Part,
    witness: Option<Arc<Witness>>,
}

impl Blob for FilePart {
    fn size(&self) -> u32 {
        self.size
    }

    fn read_at(&mut self, offset: u32, buf: &mut [u8]) -> io::Result<()> {
        let at = self.start.saturating_add(u64::from(offset));
        self.file.read_at(at, buf).map_err(io::Error::other)?;
        if let Some(witness) = &self.witness {
            witness.delivered(self.part, at, buf);
        }
        Ok(())
    }
}

/// How much the vCPUs have done that was not merely looking.
#[derive(Debug, Default)]
pub(crate) struct Progress(AtomicU64);

impl Progress {
    pub(super) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn so_far(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Hashes what is delivered, as it is delivered.
#[derive(Debug)]
pub(crate) struct Witness {
    files: Mutex<[Delivery; 2]>,
    progress: Arc<Progress>,
    last: AtomicU64,
}

/// One file on its way to the firmware.
#[derive(Debug)]
struct Delivery {
    part: Part,
    expected: [u8; 32],
    len: u64,
    next: u64,
    hash: Sha256,
}

/// A file that arrived and is not what the firmware was told to expect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub(crate) part: Part,
    pub(crate) expected: [u8; 32],
    pub(crate) delivered: [u8; 32],
}

impl Witness {
    fn new(
        expected: KernelHashes,
        kernel: &ImageFile,
        initrd: Option<&ImageFile>,
        progress: Arc<Progress>,
    ) -> Self {
        let delivery = |part, expected, len| Delivery { part, expected, len, next: 0, hash: Sha256::new() };
        let initrd = initrd.map_or(0, ImageFile::len);
        let files = [
            delivery(Part::Kernel, expected.kernel, kernel.len()),
            delivery(Part::Initrd, expected.initrd, initrd),
        ];
        Witness { files: Mutex::new(files), progress, last: AtomicU64::new(0) }
    }

    /// The firmware read these bytes. It reads a file from front to end; what it reads again was hashed
    /// the first time.
    fn delivered(&self, part: Part, at: u64, bytes: &[u8]) {
        self.last.store(self.progress.so_far(), Ordering::Relaxed);
        for file in self.lock().iter_mut().filter(|f| f.part == part && f.next == at) {
            file.hash.update(bytes);
            file.next = file.next.saturating_add(bytes.len() as u64);
        }
    }

    /// The first file that arrived whole and was another than expected.
    pub(super) fn mismatch(&self) -> Option<Mismatch> {
        let files = self.lock();
        files.iter().filter(|f| f.next > 0 && f.next == f.len).find_map(|f| {
            let delivered: [u8; 32] = f.hash.clone().finalize().into();
            let wrong = delivered != f.expected;
            wrong.then_some(Mismatch { part: f.part, expected: f.expected, delivered })
        })
    }

    /// What the vCPUs had done when the firmware last read something.
    pub(super) fn last_delivery(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, [Delivery; 2]> {
        self.files.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use cloister_firmware::linux::Blob as Hashed;
    use std::io::Write;

    pub(in super::super) fn file(bytes: &[u8]) -> (tempfile::NamedTempFile, ImageFile) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let image = ImageFile::open(file.path()).unwrap();
        (file, image)
    }

    fn handover(kernel: &ImageFile) -> Handover {
        let read = Hashed::read(&b"setup and code"[..]).unwrap();
        Handover {
            kernel: kernel.clone(),
            code_offset: 5,
            initrd: None,
            cmdline: "quiet".into(),
            expected: Some(KernelHashes::new(&read, None, "quiet")),
        }
    }

    /// Reads the kernel as firmware does: the setup part, then the rest.
    pub(in super::super) fn deliver(witness: &Arc<Witness>, kernel: &ImageFile) {
        let len = kernel.len() as u32;
        for (start, size) in [(0, 5), (5, len - 5)] {
            let witness = Some(Arc::clone(witness));
            let mut part = FilePart { file: kernel.clone(), start, size, part: Part::Kernel, witness };
            for at in 0..size {
                part.read_at(at, &mut [0]).unwrap();
            }
        }
    }

    pub(in super::super) fn witness(kernel: &ImageFile, progress: &Arc<Progress>) -> Arc<Witness> {
        handover(kernel).offer(&mut FwCfgItems::new(), progress).unwrap().unwrap()
    }

    #[test]
    fn what_arrives_as_expected_is_no_mismatch() {
        let (_kept, kernel) = file(b"setup and code");
        let witness = witness(&kernel, &Arc::default());
        assert_eq!(witness.mismatch(), None, "nothing has arrived");
        deliver(&witness, &kernel);
        deliver(&witness, &kernel);
        assert_eq!(witness.mismatch(), None);
    }

    #[test]
    fn a_file_that_changed_is_told_with_both_hashes() {
        let (mut kept, kernel) = file(b"setup and code");
        let witness = witness(&kernel, &Arc::default());
        std::io::Seek::rewind(&mut kept).unwrap();
        kept.write_all(b"S").unwrap();
        deliver(&witness, &kernel);
        let mismatch = witness.mismatch().unwrap();
        assert_eq!(mismatch.part, Part::Kernel);
        assert_eq!(mismatch.expected, *Sha256::digest(b"setup and code"));
        assert_eq!(mismatch.delivered, *Sha256::digest(b"Setup and code"));
    }

    #[test]
    fn a_kernel_that_nobody_checks_needs_no_witness() {
        let (_kept, kernel) = file(b"setup and code");
        let handover = Handover { expected: None, ..handover(&kernel) };
        assert!(handover.offer(&mut FwCfgItems::new(), &Arc::default()).unwrap().is_none());
    }
}
