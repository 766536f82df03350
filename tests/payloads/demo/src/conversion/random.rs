//! Choices, the same in every run.

/// A xorshift generator (Marsaglia 2003): what is chosen must be spread, not secret.
#[derive(Debug)]
pub struct Choices(u64);

impl Choices {
    /// The choices of processor `index`.
    pub fn new(index: u64) -> Self {
        Choices((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Something below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}
