//! What went wrong, why, and what to do about it.

use std::{fmt, io, path::Path};

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// An error in the three lines that a reader needs.
#[derive(Debug)]
pub struct Error {
    what: String,
    why: String,
    next: String,
}

impl Error {
    /// `what` failed, `why`, and the `next` step to take.
    pub fn new(what: impl Into<String>, why: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), next: next.into() }
    }

    /// A file or directory could not be used.
    pub(crate) fn file(what: &str, path: &Path, error: &io::Error) -> Self {
        let next = match error.kind() {
            io::ErrorKind::StorageFull => {
                "make room there, or set CLOISTER_CACHE to a directory on another disk"
            }
            io::ErrorKind::PermissionDenied => {
                "run as a user who may use it, or set CLOISTER_CACHE to one's own directory"
            }
            _ => "look at that path; deleting the cache directory makes the next run fetch everything again",
        };
        Self::new(format!("cannot {what} {}", path.display()), error.to_string(), next)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\n  why:  {}\n  next: {}",
            self.what,
            self.why.trim_end().replace('\n', "\n        "),
            self.next
        )
    }
}

impl std::error::Error for Error {}

/// Names the file in an I/O error.
pub(crate) trait FileContext<T> {
    /// `what` was to be done with `path`: "read", "create", …
    fn file(self, what: &str, path: &Path) -> Result<T>;
}

impl<T> FileContext<T> for io::Result<T> {
    fn file(self, what: &str, path: &Path) -> Result<T> {
        self.map_err(|error| Error::file(what, path, &error))
    }
}
