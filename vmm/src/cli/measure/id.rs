//! Signed ID blocks for the digest that was predicted.

use std::path::{Path, PathBuf};

use clap::Args;
use cloister_firmware::identity::{IdBlock, IdKey, SignedId};
use cloister_firmware::measure::Digest384;
use serde_json::{Value, json};

use super::args::{Counts, Hex, number, number_u32};
use super::{print, refuse};
use crate::refusal::Refusal;

/// The bit of a guest policy that is always 1 (SEV-SNP firmware ABI, table 9).
const RESERVED_ONE: u64 = 1 << 17;

/// Flags for an ID block.
#[derive(Debug, Args)]
pub(super) struct IdArgs {
    /// Write a signed ID block for the digest: 96 bytes to FILE, the 4096 with keys and signatures to
    /// FILE.auth
    #[arg(long, value_name = "FILE", requires = "id_key", conflicts_with_all = ["explain", "diff"])]
    id_block: Option<PathBuf>,
    /// P-384 key that signs the ID block (PEM)
    #[arg(long, value_name = "FILE", requires = "id_block")]
    id_key: Option<PathBuf>,
    /// P-384 key that signs the ID key (PEM)
    #[arg(long, value_name = "FILE", requires = "id_block")]
    author_key: Option<PathBuf>,
    /// 16 bytes in hex, reported with the guest
    #[arg(long, value_name = "HEX", requires = "id_block")]
    family_id: Option<Hex<16>>,
    /// 16 bytes in hex, reported with the guest
    #[arg(long, value_name = "HEX", requires = "id_block")]
    image_id: Option<Hex<16>>,
    /// Security version of the guest
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = number_u32)]
    svn: u32,
    /// Policy that the guest must be launched with
    #[arg(long, value_name = "NUMBER", default_value = "0x30000", value_parser = number)]
    policy: u64,
}

/// An ID block that only lacks its digest.
pub(super) struct Prepared {
    path: PathBuf,
    block: IdBlock,
    id_key: IdKey,
    author: Option<IdKey>,
}

impl IdArgs {
    /// Reads the keys, before anything is measured.
    pub(super) fn prepare(&self, cpus: Counts) -> Result<Option<Prepared>, Refusal> {
        let (Some(path), Some(id_key)) = (&self.id_block, &self.id_key) else { return Ok(None) };
        if cpus.range {
            return Err(Refusal::new(
                "an ID block for several numbers of vCPUs",
                "an ID block names one digest, and every number of vCPUs has its own",
                "give one number with --cpus",
            ));
        }
        if self.policy & RESERVED_ONE == 0 {
            return Err(Refusal::new(
                format_args!("no guest can have the policy {:#x}", self.policy),
                "bit 17 is clear, and the platform wants it set",
                format_args!("give --policy {:#x}", self.policy | RESERVED_ONE),
            ));
        }
        let block = IdBlock {
            digest: Digest384::ZERO,
            family_id: self.family_id.map_or([0; 16], |id| id.0),
            image_id: self.image_id.map_or([0; 16], |id| id.0),
            guest_svn: self.svn,
            policy: self.policy,
        };
        let author = self.author_key.as_deref().map(key).transpose()?;
        Ok(Some(Prepared { path: path.clone(), block, id_key: key(id_key)?, author }))
    }
}

fn key(path: &Path) -> Result<IdKey, Refusal> {
    let what = format!("cannot use the key {}", path.display());
    let text = std::fs::read_to_string(path)
        .map_err(|e| Refusal::new(&what, e, "give the path of a readable PEM file"))?;
    IdKey::from_pem(&text).map_err(|e| refuse(&what, e))
}

impl Prepared {
    /// Signs for `digest` and writes both files.
    pub(super) fn sign_and_write(self, digest: Digest384) -> Result<Written, Refusal> {
        let signed = IdBlock { digest, ..self.block }.sign(&self.id_key, self.author.as_ref());
        let mut auth = self.path.clone().into_os_string();
        auth.push(".auth");
        let auth = PathBuf::from(auth);
        for (path, bytes) in [(&self.path, &signed.block[..]), (&auth, &signed.auth[..])] {
            std::fs::write(path, bytes).map_err(|e| {
                let what = format!("cannot write {}", path.display());
                Refusal::new(what, e, "give a path in a directory that you may write to")
            })?;
        }
        Ok(Written { block: self.path, auth, signed })
    }
}

/// Files that were written.
pub(super) struct Written {
    block: PathBuf,
    auth: PathBuf,
    signed: SignedId,
}

impl Written {
    /// What reports will say of the keys.
    pub(super) fn tell(&self) {
        print::line(format_args!("id-key {}", self.signed.id_key_digest));
        if let Some(digest) = self.signed.author_key_digest {
            print::line(format_args!("author-key {digest}"));
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "block": self.block.to_string_lossy(),
            "auth": self.auth.to_string_lossy(),
            "id_key_digest": self.signed.id_key_digest.to_string(),
            "author_key_digest": self.signed.author_key_digest.map(|d| d.to_string()),
        })
    }
}
