//! What a guest is launched on, with the platform's own keys: `snp,policy=0x30000`.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use cloister_coco::launch::{PlatformKind, Request};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::coco_keys::{self, SnpKeys, TdxKeys};
use super::number::Scalar;

/// What to launch the guest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum CocoPlatform {
    /// The best that host and guest allow; says what it chose and why
    #[default]
    Auto,
    /// AMD SEV-SNP
    Snp,
    /// Intel TDX
    Tdx,
    /// KVM's software-protected VM: real private memory, no protection from the host
    Protected,
    /// The simulator: every step and every check, software in the hardware's place
    Sim,
    /// A plain VM
    Off,
}

impl From<CocoPlatform> for Request {
    fn from(platform: CocoPlatform) -> Self {
        match platform {
            CocoPlatform::Auto => Request::Auto,
            CocoPlatform::Snp => Request::Exactly(PlatformKind::Snp),
            CocoPlatform::Tdx => Request::Exactly(PlatformKind::Tdx),
            CocoPlatform::Protected => Request::Exactly(PlatformKind::Protected),
            CocoPlatform::Sim => Request::Exactly(PlatformKind::Sim),
            CocoPlatform::Off => Request::Exactly(PlatformKind::Off),
        }
    }
}

impl fmt::Display for CocoPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CocoPlatform::Auto => "auto",
            CocoPlatform::Snp => "snp",
            CocoPlatform::Tdx => "tdx",
            CocoPlatform::Protected => "protected",
            CocoPlatform::Sim => "sim",
            CocoPlatform::Off => "off",
        })
    }
}

impl FromStr for CocoPlatform {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let all = Self::value_variants();
        all.iter().find(|p| p.to_string() == s).copied().ok_or_else(|| {
            let names: Vec<_> = all.iter().map(Self::to_string).collect();
            format!("unknown platform `{s}`; {} are known", names.join(", "))
        })
    }
}

/// A platform, and what was said about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct CocoSpec {
    /// The platform.
    pub(crate) platform: CocoPlatform,
    /// Of an SNP guest, real or simulated.
    pub(crate) snp: SnpKeys,
    /// Of a TD.
    pub(crate) tdx: TdxKeys,
    /// The host may read the guest's memory for debugging.
    pub(crate) debug: Option<bool>,
    /// A plain guest's memory comes from guest_memfd.
    pub(crate) guest_memfd: Option<bool>,
}

impl CocoSpec {
    /// From a platform and pairs of key and value.
    fn new<'a>(
        platform: &str,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<CocoSpec, String> {
        let mut spec = CocoSpec { platform: platform.parse()?, ..CocoSpec::default() };
        for (key, value) in pairs {
            coco_keys::set(&mut spec, key, value)?;
        }
        Ok(spec)
    }
}

impl From<CocoPlatform> for CocoSpec {
    fn from(platform: CocoPlatform) -> Self {
        CocoSpec { platform, ..CocoSpec::default() }
    }
}

impl FromStr for CocoSpec {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let mut parts = s.split(',');
        let platform = parts.next().unwrap_or_default();
        let pairs: Result<Vec<_>, _> = parts
            .map(|part| part.split_once('=').ok_or_else(|| format!("`{part}` is not of the form key=value")))
            .collect();
        CocoSpec::new(platform, pairs?)
    }
}

/// In a file: the same text, or a table with the key `platform` and the platform's keys.
impl<'de> Deserialize<'de> for CocoSpec {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(TextOrTable)
    }
}

struct TextOrTable;

impl<'de> Visitor<'de> for TextOrTable {
    type Value = CocoSpec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a platform, or a table with `platform` and its keys")
    }

    fn visit_str<E: serde::de::Error>(self, s: &str) -> Result<CocoSpec, E> {
        s.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CocoSpec, A::Error> {
        let (mut platform, mut pairs) = (None, Vec::new());
        while let Some((key, value)) = map.next_entry::<String, Scalar>()? {
            let value = value.into_text();
            if key != "platform" {
                pairs.push((key, value));
            } else if platform.replace(value).is_some() {
                return Err(A::Error::custom("`platform` is given twice"));
            }
        }
        let platform = platform.ok_or_else(|| A::Error::custom("`platform` is missing"))?;
        let pairs = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        CocoSpec::new(&platform, pairs).map_err(A::Error::custom)
    }
}

#[cfg(test)]
#[path = "coco_tests.rs"]
mod tests;
