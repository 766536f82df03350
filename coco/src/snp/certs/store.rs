//! The files that hold the certificates: a directory of them, or one file that is a table already.

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

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use p384::pkcs8::der::Document;
use snafu::{OptionExt, ResultExt, Snafu, ensure};

use super::lock::{HeldLocks, lock_shared};
use super::table::{self, MAX_TABLE, Role};

/// Why there are no certificates.
#[derive(Debug, Snafu)]
#[non_exhaustive]
pub enum CertStoreError {
    /// A file cannot be opened or read.
    #[snafu(display("{}: {source}. Is it there, and readable for this user?", path.display()))]
    Read {
        /// Which.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file is being changed.
    #[snafu(display("{}: locked by somebody who changes it. Try again", path.display()))]
    Busy {
        /// Which.
        path: PathBuf,
    },
    /// More than a guest reads.
    #[snafu(display(
        "{}: more than the {MAX_TABLE} bytes that guests read. Give only the certificates of this machine",
        path.display()
    ))]
    TooLong {
        /// Which.
        path: PathBuf,
    },
    /// A file that should be a table is none.
    #[snafu(display(
        "{}: neither a directory nor a table of certificates. Give a directory with vcek.pem, ask.pem and ark.pem",
        path.display()
    ))]
    NoTable {
        /// Which.
        path: PathBuf,
    },
    /// A file that should be a certificate is none.
    #[snafu(display("{}: neither DER nor PEM of a certificate. Fetch it again", path.display()))]
    NoCertificate {
        /// Which.
        path: PathBuf,
    },
    /// A kind of certificate is there twice.
    #[snafu(display("{}: another file holds the same kind of certificate. Remove one", path.display()))]
    Twice {
        /// The second one.
        path: PathBuf,
    },
    /// Nothing known in the directory.
    #[snafu(display(
        "{}: no certificate in it. They are known by name: vcek or vlek, ask or asvk, ark, crl, with the ending \
         .pem, .der, .crt or .cer",
        path.display()
    ))]
    Empty {
        /// The directory.
        path: PathBuf,
    },
}

/// Where the certificates are. They are read again at each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertStore {
    path: PathBuf,
}

impl CertStore {
    /// The store at `path`, if certificates can be read from it now.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, CertStoreError> {
        let store = CertStore { path: path.into() };
        match store.read() {
            Ok(_) | Err(CertStoreError::Busy { .. }) => Ok(store),
            Err(e) => Err(e),
        }
    }

    /// The table for the guest, and the locks on the files that it was made from.
    pub(super) fn read(&self) -> Result<(Vec<u8>, HeldLocks), CertStoreError> {
        let path = &self.path;
        if std::fs::metadata(path).context(ReadSnafu { path })?.is_dir() {
            return self.read_directory();
        }
        let (file, bytes) = read_locked(path)?;
        ensure!(table::is_table(&bytes), NoTableSnafu { path });
        Ok((bytes, HeldLocks::of(vec![file])))
    }

    fn read_directory(&self) -> Result<(Vec<u8>, HeldLocks), CertStoreError> {
        let path = &self.path;
        let mut found: Vec<(Role, PathBuf)> = Vec::new();
        for entry in std::fs::read_dir(path).context(ReadSnafu { path })? {
            let path = entry.context(ReadSnafu { path })?.path();
            let Some(role) = role_of(&path) else { continue };
            ensure!(found.iter().all(|(r, _)| *r != role), TwiceSnafu { path });
            found.push((role, path));
        }
        ensure!(!found.is_empty(), EmptySnafu { path });
        // In the order of the roles, whatever order the directory has them in.
        found.sort();
        let (mut certs, mut files) = (Vec::new(), Vec::new());
        for (role, path) in found {
            let (file, bytes) = read_locked(&path)?;
            certs.push((role, der(bytes).context(NoCertificateSnafu { path })?));
            files.push(file);
        }
        let table = table::encode(&certs).context(TooLongSnafu { path })?;
        Ok((table, HeldLocks::of(files)))
    }
}

/// What a file in the directory is, by its name.
fn role_of(path: &Path) -> Option<Role> {
    let ending = path.extension().and_then(OsStr::to_str)?.to_ascii_lowercase();
    let known = matches!(ending.as_str(), "pem" | "der" | "crt" | "cer" | "crl");
    Role::of_name(path.file_stem()?.to_str()?).filter(|_| known)
}

fn read_locked(path: &Path) -> Result<(File, Vec<u8>), CertStoreError> {
    // What is no regular file must not make a vCPU wait.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let mut file = file.context(ReadSnafu { path })?;
    lock_shared(&file).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => CertStoreError::Busy { path: path.into() },
        _ => CertStoreError::Read { path: path.into(), source },
    })?;
    let mut bytes = Vec::new();
    let most = (MAX_TABLE as u64).saturating_add(1);
    file.by_ref().take(most).read_to_end(&mut bytes).context(ReadSnafu { path })?;
    ensure!(bytes.len() <= MAX_TABLE, TooLongSnafu { path });
    Ok((file, bytes))
}

/// DER as it is, PEM decoded: guests expect DER.
fn der(bytes: Vec<u8>) -> Option<Vec<u8>> {
    if !bytes.starts_with(b"-----BEGIN ") {
        // Both certificates and revocation lists are a SEQUENCE.
        return Document::try_from(bytes).ok().map(|d| d.as_bytes().to_vec());
    }
    let (label, document) = Document::from_pem(std::str::from_utf8(&bytes).ok()?).ok()?;
    matches!(label, "CERTIFICATE" | "X509 CRL").then(|| document.as_bytes().to_vec())
}
