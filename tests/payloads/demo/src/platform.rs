//! What the drivers need of the machine. The payload implements it with instructions, tests with fakes.

/// Port I/O.
pub trait Ports {
    /// Reads one byte.
    fn inb(&mut self, port: u16) -> u8;
    /// Reads two bytes.
    fn inw(&mut self, port: u16) -> u16;
    /// Reads four bytes.
    fn inl(&mut self, port: u16) -> u32;
    /// Writes one byte.
    fn outb(&mut self, port: u16, value: u8);
    /// Writes two bytes.
    fn outw(&mut self, port: u16, value: u16);
    /// Writes four bytes.
    fn outl(&mut self, port: u16, value: u32);
}

/// The bounce region: memory that the host may read and write at any time.
///
/// There are no references into it. Every access is one copy, so that what was checked is what is used.
/// An access that is not wholly inside does nothing and says false.
pub trait Bounce {
    /// Guest-physical address of its first byte.
    fn gpa(&self) -> u64;
    /// Its length in bytes.
    fn len(&self) -> usize;
    /// Whether it has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Copies out.
    #[must_use]
    fn read(&self, offset: usize, to: &mut [u8]) -> bool;
    /// Copies in.
    #[must_use]
    fn write(&mut self, offset: usize, from: &[u8]) -> bool;
    /// Reads an aligned `u16`; what follows it was written by the host before it.
    fn load(&self, offset: usize) -> Option<u16>;
    /// Writes an aligned `u16` after everything that we wrote before, and before anything that we read next.
    #[must_use]
    fn store(&mut self, offset: usize, value: u16) -> bool;
}

/// A wait that always ends.
pub trait Timer {
    /// Begins to count.
    fn restart(&mut self, seconds: u32);
    /// Waits a little; false when the time is up.
    #[must_use]
    fn wait(&mut self) -> bool;
}
