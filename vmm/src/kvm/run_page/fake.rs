//! A page as the kernel would leave it, without a vCPU.

use super::{RunPage, UNION};

/// All of the page that matters: up to the end of the union (256 bytes, "Fix the size of the union").
pub(crate) struct FakePage([u8; UNION + 256]);

impl FakePage {
    pub(crate) fn new(reason: u32) -> Self {
        let mut page = FakePage([0; UNION + 256]);
        page.put(8, &reason.to_le_bytes());
        page
    }

    /// With `values` from byte `at` of the page.
    pub(crate) fn with(mut self, at: usize, values: &[u64]) -> Self {
        values.iter().enumerate().for_each(|(n, v)| self.put(at + 8 * n, &v.to_le_bytes()));
        self
    }

    pub(crate) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().unwrap())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn page(&mut self) -> RunPage<'_> {
        let reason = u32::from_le_bytes(self.0[8..12].try_into().unwrap());
        RunPage { reason, union: &mut self.0[UNION..] }
    }
}
