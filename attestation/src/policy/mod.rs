//! The policy: what a verdict is judged by, and which secrets it releases. A TOML file.
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

mod error;
mod render;
mod secret;
mod snp;
mod value;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use snafu::{OptionExt, ResultExt, ensure};

pub use error::PolicyError;
use error::*;
pub use render::Sketch;
pub use secret::{SecretSource, Secrets};
pub use snp::{SnpPolicy, TcbFloor};
pub use value::{AbiVersion, Hex};

use crate::protocol::{MAX_SECRET_ID, is_secret_id};

/// The version of the file's schema.
pub const VERSION: u64 = 1;

/// Largest policy file.
const MAX_POLICY: usize = 1 << 20;

/// A policy.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Whether evidence of the simulator is accepted. It proves nothing.
    pub allow_sim: bool,
    /// What an SEV-SNP report is judged by.
    pub snp: SnpPolicy,
    /// What is released, by name.
    pub secrets: Secrets,
    id: [u8; 32],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    version: u64,
    #[serde(default)]
    allow_sim: bool,
    snp: SnpPolicy,
    #[serde(default)]
    secrets: std::collections::BTreeMap<String, SecretSource>,
}

impl Policy {
    /// Reads a policy from its text.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        Self::parse_in(text, None)
    }

    /// Reads a policy from a file. Relative paths of secrets are relative to it.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let text = std::fs::read_to_string(path).context(ReadSnafu { path })?;
        Self::parse_in(&text, path.parent())
    }

    fn parse_in(text: &str, directory: Option<&Path>) -> Result<Self, PolicyError> {
        ensure!(text.len() <= MAX_POLICY, TooLongSnafu { len: text.len() });
        let file: File = toml::from_str(text).map_err(|e| syntax(text, &e))?;
        ensure!(file.version == VERSION, VersionSnafu { found: file.version });
        ensure!(!file.snp.names_no_identity(), NoIdentitySnafu);
        for (name, source) in &file.secrets {
            ensure!(is_secret_id(name), SecretNameSnafu { name, max: MAX_SECRET_ID });
            source.kind().context(SecretSourceSnafu { name })?;
        }
        let secrets = Secrets::new(file.secrets, directory.map(PathBuf::from));
        Ok(Self {
            allow_sim: file.allow_sim,
            snp: file.snp,
            secrets,
            id: Sha256::digest(text.as_bytes()).into(),
        })
    }

    /// SHA-256 of the policy's text, for the audit line.
    pub fn id(&self) -> [u8; 32] {
        self.id
    }
}

#[cfg(test)]
#[path = "policy_test.rs"]
mod tests;
