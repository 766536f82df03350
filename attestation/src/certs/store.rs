//! A directory of chip keys, fetched beforehand: the offline store of a host.
//!
//! The layout is the one that Trustee uses, so that one store serves both:
//! `vcek/<hwid>/bl04_tee00_snp24_ucode219[_fmc01]_vcek.der`, then `vcek/<hwid>/vcek.der`. Names are
//! made of hex digits and numbers only; nothing of a report gets into a path as it is.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::PathBuf;

use super::certificate::MAX_CERTIFICATE;
use crate::snp::{Component, Product, Report, Tcb};

/// A directory with chip keys' certificates, DER.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// A store in this directory.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The VCEK for a report's chip and REPORTED_TCB, if the store has one. Whether it fits is for the
    /// verifier to say.
    ///
    /// A report of version 2 does not name its product: its chip is looked for by all 64 bytes, which
    /// is right for the products that have such reports.
    pub fn vcek(&self, report: &Report) -> io::Result<Option<Vec<u8>>> {
        let product = report.product().ok().flatten().unwrap_or(Product::Milan);
        let chip_id = report.chip_id();
        let chip = chip_id.get(..product.chip_id_len()).unwrap_or_default();
        if chip.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let directory = self.root.join("vcek").join(hex::encode(chip));
        for name in [file_name(product, report.reported_tcb()), "vcek.der".into()] {
            match File::open(directory.join(name)) {
                Ok(file) => return read(file).map(Some),
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }
}

fn file_name(product: Product, tcb: Tcb) -> String {
    let part = |component| tcb.get(product, component).unwrap_or(0);
    let fmc = tcb.get(product, Component::Fmc).map(|fmc| format!("_fmc{fmc:02}")).unwrap_or_default();
    format!(
        "bl{:02}_tee{:02}_snp{:02}_ucode{:02}{fmc}_vcek.der",
        part(Component::Bootloader),
        part(Component::Tee),
        part(Component::Snp),
        part(Component::Microcode),
    )
}

fn read(file: File) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(MAX_CERTIFICATE).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const MILAN: &[u8] = include_bytes!("../../tests/vectors/milan-v3-vcek-ms/report.bin");
    const TURIN: &[u8] = include_bytes!("../../tests/vectors/turin-v5-vcek-ms/report.bin");
    const VLEK: &[u8] = include_bytes!("../../tests/vectors/milan-v3-vlek-vmpl1/report.bin");

    #[test]
    fn the_certificate_for_the_tcb_comes_before_the_chips() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path());
        let report = Report::parse(MILAN).unwrap();
        assert_eq!(store.vcek(&report).unwrap(), None);
        let chip = directory.path().join("vcek").join(hex::encode(report.chip_id()));
        fs::create_dir_all(&chip).unwrap();
        fs::write(chip.join("vcek.der"), b"any").unwrap();
        assert_eq!(store.vcek(&report).unwrap().unwrap(), b"any");
        fs::write(chip.join("bl04_tee00_snp24_ucode219_vcek.der"), b"exact").unwrap();
        assert_eq!(store.vcek(&report).unwrap().unwrap(), b"exact");
    }

    #[test]
    fn turin_has_a_short_id_and_an_fmc() {
        let directory = tempfile::tempdir().unwrap();
        let chip = directory.path().join("vcek/59790fb1c39f35c1");
        fs::create_dir_all(&chip).unwrap();
        fs::write(chip.join("bl01_tee01_snp04_ucode81_fmc01_vcek.der"), b"turin").unwrap();
        let store = Store::new(directory.path());
        assert_eq!(store.vcek(&Report::parse(TURIN).unwrap()).unwrap().unwrap(), b"turin");
        assert_eq!(store.vcek(&Report::parse(VLEK).unwrap()).unwrap(), None);
    }
}
