//! The `[secrets.NAME]` tables.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use snafu::{OptionExt, ResultExt, ensure};
use zeroize::Zeroizing;

use super::PolicyError;
use super::error::*;
use crate::protocol::MAX_SECRET_LEN;
use crate::protocol::seal::Secret;

/// Where a secret comes from: exactly one of the three.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretSource {
    file: Option<PathBuf>,
    hex: Option<Zeroizing<String>>,
    text: Option<Zeroizing<String>>,
}

pub(super) enum Kind<'a> {
    File(&'a Path),
    Hex(&'a str),
    Text(&'a str),
}

impl SecretSource {
    /// A secret in a file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { file: Some(path.into()), ..Self::default() }
    }

    /// A secret that is the text itself.
    pub fn text(text: &str) -> Self {
        Self { text: Some(Zeroizing::new(text.to_owned())), ..Self::default() }
    }

    pub(super) fn kind(&self) -> Option<Kind<'_>> {
        match (&self.file, &self.hex, &self.text) {
            (Some(path), None, None) => Some(Kind::File(path)),
            (None, Some(digits), None) => Some(Kind::Hex(digits)),
            (None, None, Some(text)) => Some(Kind::Text(text)),
            _ => None,
        }
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind() {
            Some(Kind::File(_)) => "SecretSource(file)",
            Some(Kind::Hex(_)) => "SecretSource(hex)",
            Some(Kind::Text(_)) => "SecretSource(text)",
            None => "SecretSource(?)",
        })
    }
}

/// The secrets of a policy, by name.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    sources: BTreeMap<String, SecretSource>,
    directory: Option<PathBuf>,
}

impl Secrets {
    pub(super) fn new(sources: BTreeMap<String, SecretSource>, directory: Option<PathBuf>) -> Self {
        Self { sources, directory }
    }

    /// Adds a secret, or replaces one.
    pub fn insert(&mut self, name: &str, source: SecretSource) {
        self.sources.insert(name.to_owned(), source);
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sources.keys().map(String::as_str)
    }

    /// Reads every secret, so that a missing file is found before a guest asks for it.
    pub fn load(&self) -> Result<Vec<Secret>, PolicyError> {
        self.sources.iter().map(|(name, source)| self.load_one(name, source)).collect()
    }

    fn load_one(&self, name: &str, source: &SecretSource) -> Result<Secret, PolicyError> {
        let bytes = match source.kind().context(SecretSourceSnafu { name })? {
            Kind::Text(text) => Zeroizing::new(text.as_bytes().to_vec()),
            Kind::Hex(digits) => Zeroizing::new(hex::decode(digits).ok().context(SecretHexSnafu { name })?),
            Kind::File(path) => {
                let path = self.directory.as_deref().map_or_else(|| path.to_owned(), |d| d.join(path));
                read(&path).context(SecretFileSnafu { name, path })?
            }
        };
        let range = 1..=MAX_SECRET_LEN;
        ensure!(
            range.contains(&bytes.len()),
            SecretLengthSnafu { name, len: bytes.len(), max: MAX_SECRET_LEN }
        );
        Ok(Secret { id: name.to_owned(), bytes })
    }
}

/// Reads a file into memory that is wiped, one byte more than allowed at most.
fn read(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let most = MAX_SECRET_LEN.saturating_add(1);
    // All of it at once: a vector that grows leaves copies behind that nobody wipes.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most));
    let limit = u64::try_from(most).unwrap_or(u64::MAX);
    std::fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}
