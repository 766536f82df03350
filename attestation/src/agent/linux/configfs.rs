//! configfs-tsm: the kernel's interface to the TEE (Linux, Documentation/ABI/testing/configfs-tsm-report).
//!
//! A fresh entry for every report: make a directory, write `inblob`, read `outblob` and `auxblob`, and
//! see by `generation` that nobody else wrote in between.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::agent::{Evidence, EvidenceError, EvidenceProvider};
use crate::protocol::Tee;
use crate::protocol::message::{MAX_AUXBLOB, MAX_REPORT};

/// Where the kernel has it, once configfs is mounted.
const ROOT: &str = "/sys/kernel/config/tsm/report";
const ATTEMPTS: u32 = 5;

/// The kernel's interface to the TEE.
#[derive(Debug)]
pub struct ConfigfsTsm {
    root: PathBuf,
    tee: Tee,
    count: u32,
}

impl ConfigfsTsm {
    /// Looks for the interface, and for a TEE behind it that this crate knows.
    pub fn open() -> Result<Self, EvidenceError> {
        Self::open_at(Path::new(ROOT))
    }

    fn open_at(root: &Path) -> Result<Self, EvidenceError> {
        let mut tsm = Self { root: root.to_owned(), tee: Tee::NONE, count: 0 };
        let entry = tsm.entry()?;
        tsm.tee = match entry.read("provider", 64)?.trim_ascii() {
            b"sev_guest" => Tee::SNP,
            b"tdx_guest" => Tee::TDX,
            _ => return Err(EvidenceError::NoTee),
        };
        Ok(tsm)
    }

    fn entry(&mut self) -> Result<Entry, EvidenceError> {
        self.count = self.count.wrapping_add(1);
        Entry::make(self.root.join(format!("cloister-{}-{}", std::process::id(), self.count)))
    }
}

impl EvidenceProvider for ConfigfsTsm {
    fn tee(&self) -> Tee {
        self.tee
    }

    fn evidence(&mut self, report_data: &[u8; 64]) -> Result<Evidence, EvidenceError> {
        let mut last = EvidenceError::Busy;
        for _ in 0..ATTEMPTS {
            match self.entry()?.evidence(report_data) {
                Err(EvidenceError::Busy) => last = EvidenceError::Busy,
                other => return other,
            }
        }
        Err(last)
    }
}

/// A directory in the interface, removed at the end.
struct Entry {
    path: PathBuf,
}

fn failed(error: io::Error) -> EvidenceError {
    match error.kind() {
        ErrorKind::ResourceBusy | ErrorKind::WouldBlock => EvidenceError::Busy,
        ErrorKind::NotFound => EvidenceError::NoTee,
        _ => EvidenceError::Failed(error.raw_os_error().unwrap_or(0)),
    }
}

impl Entry {
    fn make(path: PathBuf) -> Result<Self, EvidenceError> {
        fs::create_dir(&path).map_err(failed)?;
        Ok(Self { path })
    }

    fn read(&self, name: &str, max: usize) -> Result<Vec<u8>, EvidenceError> {
        let file = File::open(self.path.join(name)).map_err(failed)?;
        let mut bytes = Vec::new();
        let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
        file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() > max { Err(EvidenceError::BadSize) } else { Ok(bytes) }
    }

    fn evidence(&self, report_data: &[u8; 64]) -> Result<Evidence, EvidenceError> {
        fs::write(self.path.join("inblob"), report_data).map_err(failed)?;
        let report = self.read("outblob", MAX_REPORT)?;
        // A host that gives no certificates gives an empty file or none.
        let auxblob = match self.read("auxblob", MAX_AUXBLOB) {
            Ok(bytes) => bytes,
            Err(EvidenceError::Busy) => return Err(EvidenceError::Busy),
            Err(_) => Vec::new(),
        };
        // One write of ours: another number means that someone else wrote too.
        if self.read("generation", 32)?.trim_ascii() != b"1" {
            return Err(EvidenceError::Busy);
        }
        Ok(Evidence { report, auxblob })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // An entry that stays behind does no harm: the next one has another name.
        let _ = fs::remove_dir(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry in a plain directory, with the files that the kernel would put there.
    fn entry(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Entry) {
        let directory = tempfile::tempdir().unwrap();
        let entry = Entry::make(directory.path().join("e")).unwrap();
        for (name, bytes) in files {
            fs::write(entry.path.join(name), bytes).unwrap();
        }
        (directory, entry)
    }

    #[test]
    fn a_report_is_read_with_its_certificates() {
        let (_keep, entry) = entry(&[("outblob", &[1; 1184]), ("auxblob", b"certs"), ("generation", b"1\n")]);
        let evidence = entry.evidence(&[9; 64]).unwrap();
        assert_eq!((evidence.report.len(), evidence.auxblob.as_slice()), (1184, &b"certs"[..]));
        assert_eq!(fs::read(entry.path.join("inblob")).unwrap(), [9; 64]);
    }

    #[test]
    fn certificates_may_be_missing() {
        let (_keep, entry) = entry(&[("outblob", &[1; 1184]), ("generation", b"1\n")]);
        assert!(entry.evidence(&[9; 64]).unwrap().auxblob.is_empty());
    }

    #[test]
    fn another_writer_and_impossible_sizes_are_noticed() {
        let (_keep, two) = entry(&[("outblob", b"x"), ("generation", b"2\n")]);
        assert_eq!(two.evidence(&[0; 64]), Err(EvidenceError::Busy));
        let (_keep, long) = entry(&[("outblob", &vec![0; MAX_REPORT + 1]), ("generation", b"1\n")]);
        assert_eq!(long.evidence(&[0; 64]), Err(EvidenceError::BadSize));
    }

    #[test]
    fn without_the_interface_there_is_no_tee() {
        assert_eq!(ConfigfsTsm::open_at(Path::new("/nonexistent")).err(), Some(EvidenceError::NoTee));
    }
}
