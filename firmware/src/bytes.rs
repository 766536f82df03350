//! Little-endian integers somewhere in a buffer that someone else made.

/// The `N` bytes at `at`, if they are there.
pub(crate) fn bytes_at<const N: usize>(buf: &[u8], at: usize) -> Option<[u8; N]> {
    buf.get(at..)?.first_chunk::<N>().copied()
}

/// The 16-bit integer at `at`.
pub(crate) fn u16_at(buf: &[u8], at: usize) -> Option<u16> {
    bytes_at(buf, at).map(u16::from_le_bytes)
}

/// The 32-bit integer at `at`.
pub(crate) fn u32_at(buf: &[u8], at: usize) -> Option<u32> {
    bytes_at(buf, at).map(u32::from_le_bytes)
}

/// The 64-bit integer at `at`.
pub(crate) fn u64_at(buf: &[u8], at: usize) -> Option<u64> {
    bytes_at(buf, at).map(u64::from_le_bytes)
}
