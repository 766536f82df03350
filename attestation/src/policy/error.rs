//! What can be wrong with a policy.

use std::io;
use std::path::PathBuf;

use snafu::Snafu;

/// What is wrong with a policy, and where.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(super)))]
#[non_exhaustive]
pub enum PolicyError {
    /// The file cannot be read.
    #[snafu(display("policy {} cannot be read: {source}", path.display()))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Longer than any sensible policy.
    #[snafu(display("the policy has {len} bytes, more than 1 MiB"))]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// Not TOML, or not of the schema.
    #[snafu(display("policy, line {line}, column {column}: {message}\n  {source_line}"))]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What was expected.
        message: String,
        /// The line's text.
        source_line: String,
    },
    /// A version of the schema that is not known.
    #[snafu(display("policy: version is {found}, this program knows version 1"))]
    Version {
        /// The version.
        found: u64,
    },
    /// Any guest would do.
    #[snafu(display(
        "policy: [snp] names no guest: give measurements = [\"<96 hex digits>\"] \
         (`cloister measure` prints it), or id-key-digests, or author-key-digests"
    ))]
    NoIdentity,
    /// The name of a secret has characters that it may not have.
    #[snafu(display(
        "policy: [secrets.{name:?}]: a name is one to {max} of the characters A-Z a-z 0-9 . _ -"
    ))]
    SecretName {
        /// The name.
        name: String,
        /// Its longest length.
        max: usize,
    },
    /// A secret has no source, or several.
    #[snafu(display(
        "policy: [secrets.{name}] needs exactly one of file = \"path\", hex = \"..\" and text = \"..\""
    ))]
    SecretSource {
        /// The secret.
        name: String,
    },
    /// The file of a secret cannot be read.
    #[snafu(display("secret {name}: {} cannot be read: {source}", path.display()))]
    SecretFile {
        /// The secret.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A secret is not hex.
    #[snafu(display("secret {name}: hex = \"..\" is not an even number of hex digits"))]
    SecretHex {
        /// The secret.
        name: String,
    },
    /// A secret is empty or too long.
    #[snafu(display("secret {name} has {len} bytes, a secret has 1 to {max}"))]
    SecretLength {
        /// The secret.
        name: String,
        /// Its length.
        len: usize,
        /// The longest.
        max: usize,
    },
}

/// A TOML error, with the place where it is. A mistake near a secret does not show it.
pub(super) fn syntax(text: &str, error: &toml::de::Error) -> PolicyError {
    let offset = error.span().map_or(0, |span| span.start).min(text.len());
    let before = text.get(..offset).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
    let source_line = text.get(line_start..).unwrap_or_default().lines().next().unwrap_or_default();
    let message = error.message().replace('\n', " ");
    let near_secret = before.contains("secrets") || source_line.contains("secrets");
    let names_key = message.starts_with("unknown field") || message.starts_with("missing field");
    let (message, source_line) = match (near_secret, names_key) {
        (false, _) => (message, source_line),
        (true, true) => (message, ""),
        (true, false) => ("this is not right; [secrets.NAME] has one string: file, hex or text".into(), ""),
    };
    PolicyError::Syntax {
        line: before.matches('\n').count().saturating_add(1),
        column: before.get(line_start..).unwrap_or_default().chars().count().saturating_add(1),
        message,
        source_line: source_line.to_owned(),
    }
}
