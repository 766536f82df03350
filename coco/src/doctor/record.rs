//! Writing a recording: what the checks read of a host, and nothing else, for a bug report or a test.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use snafu::ResultExt;

use super::host::{ANSWERS, Host, RecordingError, Seen, WriteSnafu};
use super::report::Report;

/// Keeps a directory with nothing else in it from being lost on the way.
const KEEP: &str = ".keep";

impl Host {
    /// Writes everything that the checks read of this host into the directory `to`, which is new or empty.
    pub fn record(&self, to: &Path) -> Result<(), RecordingError> {
        must_be_empty(to).context(WriteSnafu { path: to })?;
        // Whatever the checks read has been read after this.
        let _ = Report::of(self);
        let mut answers = self.answers().clone();
        for (path, seen) in self.seen.borrow().iter() {
            let target = to.join(path.trim_start_matches('/'));
            match seen {
                Seen::File(text) => write(&target, text)?,
                Seen::Directory(names) => {
                    write(&target.join(KEEP), "")?;
                    for name in names {
                        // A name of a file among them is written by its own reading, if it was read.
                        let child = format!("{path}/{name}");
                        if !self.seen.borrow().contains_key(&child) && path.starts_with("/sys/class") {
                            write(&target.join(name).join(KEEP), "")?;
                        }
                    }
                }
                // Absence needs no record.
                Seen::Failed(libc::ENOENT) => {}
                Seen::Failed(errno) => {
                    answers.unreadable.insert(path.clone(), *errno);
                }
            }
        }
        let path = to.join(ANSWERS);
        let text = serde_json::to_string_pretty(&answers).map_err(io::Error::from);
        write(&path, &(text.context(WriteSnafu { path: &path })? + "\n"))
    }
}

/// Absence is not recorded: what another recording has and this host has not would be taken for this host's.
fn must_be_empty(to: &Path) -> io::Result<()> {
    match fs::read_dir(to) {
        Ok(mut entries) => entries.next().map_or(Ok(()), |_| Err(ErrorKind::DirectoryNotEmpty.into())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, text: &str) -> Result<(), RecordingError> {
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, text));
    written.context(WriteSnafu { path })
}
