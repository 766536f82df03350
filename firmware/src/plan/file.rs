//! A file that becomes part of a guest: opened once, read where it is needed, never held in memory.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use std::fs::{File, FileType};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;
use std::sync::Arc;

use snafu::{OptionExt, ResultExt, Snafu, ensure};

use super::Source;

/// A file cannot be used as part of a guest.
#[derive(Debug, Snafu)]
pub enum ImageError {
    /// It cannot be opened.
    #[snafu(display("cannot open {path}: {source}. Give the path of a file that is there and readable"))]
    Open {
        /// The file.
        path: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// It is something else than a regular file.
    #[snafu(display(
        "{path} is {what}, not a regular file: its bytes are measured before they are loaded, so they \
         must be readable twice. Give the path of the file itself"
    ))]
    NotRegular {
        /// The file.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// It has no bytes.
    #[snafu(display("{path} is empty. Was the download or build that made it complete?"))]
    Empty {
        /// The file.
        path: String,
    },
    /// It cannot be read.
    #[snafu(display("cannot read {path} at {offset:#x}: {source}"))]
    Read {
        /// The file.
        path: String,
        /// Byte offset.
        offset: u64,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// Something was expected behind the end of the file.
    #[snafu(display(
        "{path} ends too early: {len:#x} bytes at {offset:#x} lie outside it. It may be truncated"
    ))]
    PastEnd {
        /// The file.
        path: String,
        /// Byte offset.
        offset: u64,
        /// Number of bytes.
        len: u64,
    },
}

/// An open regular file with its length at the time it was opened.
#[derive(Debug, Clone)]
pub struct ImageFile {
    file: Arc<File>,
    path: Arc<str>,
    len: u64,
}

fn kind_name(kind: FileType) -> &'static str {
    match kind {
        k if k.is_dir() => "a directory",
        k if k.is_fifo() => "a pipe",
        k if k.is_socket() => "a socket",
        k if k.is_char_device() || k.is_block_device() => "a device",
        _ => "no file",
    }
}

impl ImageFile {
    /// Opens `path` for reading.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ImageError> {
        let path = path.as_ref();
        let name = path.to_string_lossy();
        // Asked before it is opened too: to open a pipe would wait for its writer.
        let kind = std::fs::metadata(path).context(OpenSnafu { path: &*name })?.file_type();
        ensure!(kind.is_file(), NotRegularSnafu { path: &*name, what: kind_name(kind) });
        Self::from_file(File::open(path).context(OpenSnafu { path: &*name })?, &name)
    }

    /// Takes a file that is already open; `path` is for messages.
    pub fn from_file(file: File, path: &str) -> Result<Self, ImageError> {
        let meta = file.metadata().context(OpenSnafu { path })?;
        let kind = meta.file_type();
        ensure!(kind.is_file(), NotRegularSnafu { path, what: kind_name(kind) });
        ensure!(meta.len() > 0, EmptySnafu { path });
        Ok(ImageFile { file: Arc::new(file), path: path.into(), len: meta.len() })
    }

    /// Its path, for messages.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its length in bytes when it was opened; never 0.
    #[expect(clippy::len_without_is_empty, reason = "an empty file is refused")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Fills `buf` from byte `offset` on.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ImageError> {
        self.check(offset, buf.len() as u64)?;
        self.file.read_exact_at(buf, offset).context(ReadSnafu { path: &*self.path, offset })
    }

    /// `len` bytes from `offset` on as a [`Source`].
    pub(crate) fn source(&self, offset: u64, len: u64) -> Result<Source, ImageError> {
        self.check(offset, len)?;
        Ok(Source::File { file: Arc::clone(&self.file), path: Arc::clone(&self.path), offset, len })
    }

    fn check(&self, offset: u64, len: u64) -> Result<(), ImageError> {
        let end = offset.checked_add(len).context(PastEndSnafu { path: &*self.path, offset, len })?;
        ensure!(end <= self.len, PastEndSnafu { path: &*self.path, offset, len });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn only_regular_files_with_bytes_are_taken() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            ImageFile::open(dir.path()),
            Err(ImageError::NotRegular { what: "a directory", .. })
        ));
        assert!(matches!(ImageFile::open("/dev/null"), Err(ImageError::NotRegular { what: "a device", .. })));
        let path = dir.path().join("f");
        assert!(matches!(ImageFile::open(&path), Err(ImageError::Open { .. })));
        let mut file = File::create(&path).unwrap();
        assert!(matches!(ImageFile::open(&path), Err(ImageError::Empty { .. })));
        file.write_all(&[1; 100]).unwrap();
        let image = ImageFile::open(&path).unwrap();
        assert_eq!(image.len(), 100);
        image.read_at(96, &mut [0; 4]).unwrap();
        assert!(matches!(image.read_at(97, &mut [0; 4]), Err(ImageError::PastEnd { .. })));
        assert!(matches!(image.source(u64::MAX, 2), Err(ImageError::PastEnd { .. })));
    }
}
