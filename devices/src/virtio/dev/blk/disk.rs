//! The image behind a block device.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use snafu::{ResultExt, Snafu, ensure};

use super::spec::SECTOR;

/// An image that cannot be a disk.
#[derive(Debug, Snafu)]
pub enum DiskError {
    /// It cannot be opened or looked at.
    #[snafu(display("cannot open the disk image {}: {source}", path.display()))]
    Open {
        /// The image.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It is a directory, a pipe, a terminal, …
    #[snafu(display("{} is neither a regular file nor a block device", path.display()))]
    Kind {
        /// The image.
        path: PathBuf,
    },
    /// It is not even one sector.
    #[snafu(display("the disk image {} has {len} bytes, less than a sector of {SECTOR}", path.display()))]
    Small {
        /// The image.
        path: PathBuf,
        /// Its length.
        len: u64,
    },
}

/// A raw image, opened for reading. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct Disk {
    file: Arc<File>,
    sectors: u64,
}

impl Disk {
    /// Opens the image `path`, a regular file or a block device. Bytes behind the last whole sector are
    /// left out.
    pub fn open_read_only(path: &Path) -> Result<Self, DiskError> {
        // Asked before it is opened too: to open a pipe would wait for its writer.
        let kind = std::fs::metadata(path).context(OpenSnafu { path })?.file_type();
        ensure!(kind.is_file() || kind.is_block_device(), KindSnafu { path });
        let mut file = File::open(path).context(OpenSnafu { path })?;
        let len = file.seek(SeekFrom::End(0)).context(OpenSnafu { path })?;
        let sectors = len / SECTOR;
        ensure!(sectors > 0, SmallSnafu { path, len });
        Ok(Disk { file: Arc::new(file), sectors })
    }

    /// Sectors of 512 bytes.
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// The first byte of `len` bytes from `sector` on: whole sectors that are all there.
    pub(super) fn locate(&self, sector: u64, len: u64) -> Option<u64> {
        let whole = len.is_multiple_of(SECTOR);
        let end = sector.checked_add(len / SECTOR)?;
        (whole && end <= self.sectors).then(|| sector.checked_mul(SECTOR)).flatten()
    }

    /// Fills `buf` from byte `offset` on.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }
}
