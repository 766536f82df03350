//! The host that is examined: this machine, or a recording of one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dir, Mode, OFlags, ResolveFlags};
use snafu::{ResultExt, Snafu, ensure};

use super::answer::{Answer, Answers};
use super::distil::distil;

/// No file that is read here is larger: /proc/cpuinfo of a thousand CPUs has some 2 MB.
const MAX_FILE: u64 = 8 << 20;
/// No directory that is listed here has more entries: one for each IOMMU.
const MAX_ENTRIES: usize = 4096;
/// Name of the file with the answers in a recording.
pub(super) const ANSWERS: &str = "answers.json";

/// Why a recording cannot be used.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(super)))]
pub enum RecordingError {
    /// A file of it cannot be read.
    #[snafu(display("cannot read {}: {source}", path.display()))]
    Read {
        /// Which.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Its answers cannot be understood.
    #[snafu(display("cannot understand {}: {source}", path.display()))]
    Json {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// It was made by another version.
    #[snafu(display("{} has format {found}, and this is version {}", path.display(), Answers::FORMAT))]
    Format {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A file of it cannot be written.
    #[snafu(display("cannot write {}: {source}", path.display()))]
    Write {
        /// Which.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// A host: files under a root, and answers to what is not a file.
#[derive(Debug)]
pub struct Host {
    root: PathBuf,
    pub(super) answers: Answers,
    /// What was read so far, by path: what a recording of this host consists of.
    pub(super) seen: RefCell<BTreeMap<String, Seen>>,
}

/// Something that was read.
#[derive(Debug, Clone)]
pub(super) enum Seen {
    /// What the checks use of a file.
    File(String),
    /// The names in a directory.
    Directory(Vec<String>),
    /// It could not be read.
    Failed(i32),
}

impl Host {
    /// This machine, with the answers that it gave.
    pub fn live(answers: Answers) -> Self {
        Host { root: "/".into(), answers, seen: RefCell::default() }
    }

    /// A recording: a directory with `proc/…`, `sys/…` and `answers.json`.
    pub fn recorded(root: &Path) -> Result<Self, RecordingError> {
        let path = root.join(ANSWERS);
        let text = read(root, ANSWERS).context(ReadSnafu { path: &path })?;
        let answers: Answers = serde_json::from_slice(&text).context(JsonSnafu { path: &path })?;
        let found = answers.format;
        ensure!(found == Answers::FORMAT, FormatSnafu { path, found });
        Ok(Host { root: root.into(), answers, seen: RefCell::default() })
    }

    /// The answers to what is not a file.
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// What the checks use of the text file at `path`.
    pub fn text(&self, path: &str) -> Answer<String> {
        let answer = match self.answers.unreadable.get(path) {
            Some(errno) => Answer::Errno(*errno),
            None => Answer::from(read(&self.root, path)).map(|bytes| distil(path, &bytes)),
        };
        let seen = match &answer {
            Answer::Value(text) => Seen::File(text.clone()),
            Answer::Errno(errno) => Seen::Failed(*errno),
            Answer::NotAsked => return answer,
        };
        self.seen.borrow_mut().insert(path.to_owned(), seen);
        answer
    }

    /// The one line of the text file at `path`.
    pub fn line(&self, path: &str) -> Answer<String> {
        self.text(path).map(|text| text.trim().to_owned())
    }

    /// The names in the directory at `path`, sorted.
    pub fn list(&self, path: &str) -> Answer<Vec<String>> {
        let answer = match self.answers.unreadable.get(path) {
            Some(errno) => Answer::Errno(*errno),
            None => Answer::from(list(&self.root, path)),
        };
        let seen = match &answer {
            Answer::Value(names) => Seen::Directory(names.clone()),
            Answer::Errno(errno) => Seen::Failed(*errno),
            Answer::NotAsked => return answer,
        };
        self.seen.borrow_mut().insert(path.to_owned(), seen);
        answer
    }
}

/// Opens `path` beneath `root`, which no link in a stranger's recording leads out of.
fn open(root: &Path, path: &str, flags: OFlags) -> io::Result<File> {
    let root =
        rustix::fs::openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // Neither waits for a pipe's other end.
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path = path.trim_start_matches('/');
    Ok(rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)?.into())
}

pub(super) fn read(root: &Path, path: &str) -> io::Result<Vec<u8>> {
    let file = open(root, path, OFlags::RDONLY)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn list(root: &Path, path: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::new(open(root, path, OFlags::RDONLY | OFlags::DIRECTORY)?)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // A recording keeps an empty directory by a file whose name begins with a dot.
        if !name.starts_with('.') && names.len() < MAX_ENTRIES {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
