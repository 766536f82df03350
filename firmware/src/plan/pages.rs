//! What a plan puts into memory, and where the bytes come from.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use snafu::{ResultExt, Snafu};

/// How a page enters the guest. The names are SNP's; other platforms map them to theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    /// Contents and address are measured.
    Measured,
    /// Zeros by the platform's own hand; address and kind are measured, contents are not read.
    Zero,
    /// The platform writes its secrets here (SNP secrets page).
    Secrets,
    /// The CPUID table, checked by the platform's firmware (SNP CPUID page).
    Cpuid,
    /// Contents are loaded but not measured; address and kind are.
    Unmeasured,
    /// Plain shared memory, no part of the launch.
    Shared,
}

/// Where the bytes of a run of pages come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// All zero.
    Zero,
    /// These bytes; what is missing to whole pages is zero.
    Bytes(Arc<[u8]>),
    /// `len` bytes of a file from `offset`, read when they are needed; padded with zeros.
    File {
        /// The open file.
        file: Arc<File>,
        /// Its path, for messages.
        path: Arc<str>,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: u64,
    },
}

/// Consecutive pages of one kind from one source.
#[derive(Debug, Clone)]
pub struct PageRun {
    /// Guest-physical address of the first page.
    pub gpa: u64,
    /// Number of 4 KiB pages.
    pub pages: u64,
    /// How they enter the guest.
    pub kind: PageKind,
    /// Where their bytes come from.
    pub source: Source,
    /// What they are, for people: `"kernel"`, `"command line"`, …
    pub label: &'static str,
}

/// A file could not be read again while it was measured or launched.
#[derive(Debug, Snafu)]
#[snafu(display("cannot read {path} at {offset:#x}: {source}"))]
pub struct SourceError {
    path: String,
    offset: u64,
    source: std::io::Error,
}

impl PageRun {
    /// Bytes in a page.
    pub const PAGE_SIZE: usize = 4096;

    /// A run that holds `bytes`, with as many pages as they need.
    pub fn bytes(gpa: u64, kind: PageKind, label: &'static str, bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let pages = bytes.len().div_ceil(Self::PAGE_SIZE) as u64;
        PageRun { gpa, pages, kind, source: Source::Bytes(bytes), label }
    }

    /// A run of `pages` pages without bytes of ours.
    pub fn empty(gpa: u64, pages: u64, kind: PageKind, label: &'static str) -> Self {
        PageRun { gpa, pages, kind, source: Source::Zero, label }
    }

    /// Bytes of guest memory that the run covers.
    pub fn size(&self) -> u64 {
        self.pages.saturating_mul(Self::PAGE_SIZE as u64)
    }

    /// The address after the last page.
    pub fn end(&self) -> u64 {
        self.gpa.saturating_add(self.size())
    }

    /// Reads the bytes of the run from byte `offset` on into `buf` (zero padded past the source's end).
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), SourceError> {
        buf.fill(0);
        match &self.source {
            Source::Zero => {}
            Source::Bytes(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let rest = &bytes[from..];
                let n = rest.len().min(buf.len());
                buf[..n].copy_from_slice(&rest[..n]);
            }
            Source::File { file, path, offset: start, len } => {
                let n = usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
                let at = start.saturating_add(offset);
                file.read_exact_at(&mut buf[..n], at).context(SourceSnafu { path: &**path, offset: at })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_run_is_padded_to_whole_pages() {
        let run = PageRun::bytes(0x1000, PageKind::Measured, "x", vec![7u8; 5000]);
        assert_eq!((run.pages, run.end()), (2, 0x3000));
        let mut page = [0xaa; 4096];
        run.read(4096, &mut page).unwrap();
        assert!(page[..904].iter().all(|&b| b == 7) && page[904..].iter().all(|&b| b == 0));
    }

    #[test]
    fn a_file_that_shrank_is_an_error_and_not_zeros() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 4096]).unwrap();
        let run = PageRun {
            gpa: 0,
            pages: 1,
            kind: PageKind::Measured,
            source: Source::File {
                file: Arc::new(file.try_clone().unwrap()),
                path: "f".into(),
                offset: 0,
                len: 4096,
            },
            label: "x",
        };
        let mut page = [0; 4096];
        run.read(0, &mut page).unwrap();
        assert_eq!(page, [1; 4096]);
        file.set_len(100).unwrap();
        assert!(run.read(0, &mut page).is_err());
    }
}
