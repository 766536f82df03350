//! A random source for tests.

/// Fills from the operating system.
pub(crate) fn random(buffer: &mut [u8]) {
    use std::io::Read;
    std::fs::File::open("/dev/urandom").unwrap().read_exact(buffer).unwrap();
}
