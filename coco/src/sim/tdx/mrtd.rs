//! MRTD as the TDX module builds it: one SHA-384 over a record for every page added and for every
//! 256 bytes measured, in the order in which KVM asks for them (coco.md 3.10).

use sha2::{Digest, Sha384};

use crate::memory::PAGE_SIZE;

/// Bytes that one TDH.MR.EXTEND covers.
const CHUNK: usize = 256;

/// A measurement that grows page by page.
#[derive(Debug, Clone, Default)]
pub(super) struct Mrtd(Sha384);

impl Mrtd {
    /// TDH.MEM.PAGE.ADD, and if `measured` TDH.MR.EXTEND over all of the page, as KVM does per page.
    pub(super) fn add(&mut self, gpa: u64, page: &[u8; PAGE_SIZE as usize], measured: bool) {
        self.0.update(buffer(*b"MEM.PAGE.ADD\0\0\0\0", gpa));
        if measured {
            for (at, chunk) in (gpa..).step_by(CHUNK).zip(page.chunks(CHUNK)) {
                self.0.update(buffer(*b"MR.EXTEND\0\0\0\0\0\0\0", at));
                self.0.update(chunk);
            }
        }
    }

    /// The value if nothing more came.
    pub(super) fn value(&self) -> [u8; 48] {
        self.0.clone().finalize().into()
    }
}

/// The module's 128-byte extension buffer: operation, address, zeros.
fn buffer(operation: [u8; 16], gpa: u64) -> [u8; 128] {
    let mut buffer = [0; 128];
    buffer[..16].copy_from_slice(&operation);
    buffer[16..24].copy_from_slice(&gpa.to_le_bytes());
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Micro vectors of coco.md 3.10.
    #[test]
    fn single_pages() {
        let of = |pages: &[(u64, bool)]| {
            let mut mrtd = Mrtd::default();
            pages.iter().for_each(|&(gpa, measured)| mrtd.add(gpa, &[0; 4096], measured));
            hex::encode(mrtd.value())
        };
        assert_eq!(
            of(&[]),
            "38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b"
        );
        assert_eq!(
            of(&[(0x1000, false)]),
            "fcdabf6fdf38b87d2e3a89b1ab68c242abb261dffa70ef6f1dc2220c2752d2729cdf1be92afc2e0e4297f04e2b629552"
        );
        assert_eq!(
            of(&[(0, true)]),
            "236f0efa607ff8843f1855d7ef80dc3dda8fb455787a186b8787212951eab0096e3193bb26f817c2b63c21f5e10f9938"
        );
    }
}
