//! Port 0x80: firmware writes its progress there, and Linux uses it as a delay. Nobody listens.

use crate::bus::BusDevice;

/// The POST code port, which takes everything and keeps nothing.
#[derive(Debug, Default)]
pub struct PostCode;

impl PostCode {
    /// Its I/O port.
    pub const PORT: u64 = 0x80;
    /// Number of ports.
    pub const LEN: u64 = 1;
}

impl BusDevice for PostCode {
    fn read(&mut self, _offset: u64, _data: &mut [u8]) {}
    fn write(&mut self, _offset: u64, _data: &[u8]) {}
}
