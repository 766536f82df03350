//! What kind of CPU the vCPUs are launched as.

use std::str::FromStr;

use cloister_firmware::plan::{CPU_MODELS, cpu_signature};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::number::{Scalar, number};

/// The signature of a CPU (CPUID leaf 1, EAX) by the name of its model: `EPYC-Milan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CpuModel(pub(crate) u32);

impl FromStr for CpuModel {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        cpu_signature(name).map(CpuModel).ok_or_else(|| {
            let names: Vec<_> = CPU_MODELS.iter().map(|(name, _)| *name).collect();
            format!("unknown model `{name}`; {} are known; give any other by --cpu-sig", names.join(", "))
        })
    }
}

/// The signature itself: `0xa00f11`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CpuSig(pub(crate) u32);

impl FromStr for CpuSig {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let wide = number(s)?;
        u32::try_from(wide).map(CpuSig).map_err(|_| format!("`{s}` has more than 32 bits"))
    }
}

impl<'de> Deserialize<'de> for CpuModel {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for CpuSig {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Scalar::deserialize(d)?.into_text().parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name_and_by_number() {
        assert_eq!("EPYC-Milan".parse(), Ok(CpuModel(0x00a0_0f11)));
        assert!("epyc".parse::<CpuModel>().unwrap_err().contains("EPYC-Genoa"));
        assert_eq!("0xa00f11".parse(), Ok(CpuSig(0x00a0_0f11)));
        assert!("0x100000000".parse::<CpuSig>().is_err() && "milan".parse::<CpuSig>().is_err());
    }
}
