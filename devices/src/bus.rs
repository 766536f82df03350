//! The buses of the machine: port I/O and memory-mapped I/O, dispatched by address.

use std::sync::{Arc, Mutex};

use snafu::Snafu;

/// A device on a bus. Offsets count from the start of the range the device was put at; they and the
/// data come from the guest and are hostile.
pub trait BusDevice: Send {
    /// The guest reads `data.len()` bytes (1, 2, 4 or 8) at `offset`. What the device does not set
    /// stays as the bus left it: all ones.
    fn read(&mut self, offset: u64, data: &mut [u8]);
    /// The guest writes `data` (1, 2, 4 or 8 bytes) at `offset`.
    fn write(&mut self, offset: u64, data: &[u8]);
}

/// A device as a bus holds it.
pub type SharedDevice = Arc<Mutex<dyn BusDevice>>;

/// Two devices were put at the same addresses: a mistake of the board's, not of a guest's.
#[derive(Debug, Snafu)]
#[snafu(display("bus range {base:#x}+{len:#x} overlaps a device that is already there"))]
pub struct OverlapError {
    base: u64,
    len: u64,
}

/// A bus: sorted ranges, each with its device. Filled by the board before the guest runs, then only
/// read, so that vCPUs never wait for one another here but for the device itself.
#[derive(Default)]
pub struct Bus {
    ranges: Vec<(u64, u64, SharedDevice)>,
}

impl Bus {
    /// An empty bus.
    pub fn new() -> Self {
        Bus::default()
    }

    /// Puts `device` at `[base, base + len)`.
    pub fn insert(&mut self, base: u64, len: u64, device: SharedDevice) -> Result<(), OverlapError> {
        let end = base.checked_add(len).filter(|_| len > 0).ok_or(OverlapError { base, len })?;
        if self.ranges.iter().any(|(b, l, _)| base < b.saturating_add(*l) && *b < end) {
            return Err(OverlapError { base, len });
        }
        let at = self.ranges.partition_point(|(b, _, _)| *b < base);
        self.ranges.insert(at, (base, len, device));
        Ok(())
    }

    /// A guest's read. Nobody there: all ones, as an open bus reads.
    pub fn read(&self, addr: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let Some((offset, device)) = self.find(addr, data.len()) {
            device.lock().unwrap_or_else(|e| e.into_inner()).read(offset, data);
        }
    }

    /// A guest's write; says whether anybody took it.
    pub fn write(&self, addr: u64, data: &[u8]) -> bool {
        let Some((offset, device)) = self.find(addr, data.len()) else { return false };
        device.lock().unwrap_or_else(|e| e.into_inner()).write(offset, data);
        true
    }

    fn find(&self, addr: u64, len: usize) -> Option<(u64, &SharedDevice)> {
        let before = self.ranges.partition_point(|(b, _, _)| *b <= addr);
        let (base, size, device) = self.ranges.get(before.checked_sub(1)?)?;
        let offset = addr.checked_sub(*base)?;
        let fits = offset.checked_add(len as u64)? <= *size;
        fits.then_some((offset, device))
    }
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.ranges.iter().map(|(b, l, _)| format!("{b:#x}+{l:#x}"))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo(u8);
    impl BusDevice for Echo {
        fn read(&mut self, offset: u64, data: &mut [u8]) {
            data[0] = self.0.wrapping_add(offset as u8);
        }
        fn write(&mut self, _offset: u64, data: &[u8]) {
            self.0 = data[0];
        }
    }

    #[test]
    fn dispatches_by_address_and_reads_ones_elsewhere() {
        let mut bus = Bus::new();
        bus.insert(0x100, 8, Arc::new(Mutex::new(Echo(1)))).unwrap();
        bus.insert(0x60, 1, Arc::new(Mutex::new(Echo(9)))).unwrap();
        assert!(bus.insert(0x107, 2, Arc::new(Mutex::new(Echo(0)))).is_err());
        assert!(bus.insert(u64::MAX, 2, Arc::new(Mutex::new(Echo(0)))).is_err());
        let mut b = [0];
        bus.read(0x103, &mut b);
        assert_eq!(b, [4]);
        bus.read(0x108, &mut b);
        assert_eq!(b, [0xff]);
        let mut wide = [0; 4];
        bus.read(0x106, &mut wide);
        assert_eq!(wide, [0xff; 4], "an access may not run past its device");
        assert!(bus.write(0x60, &[7]));
        assert!(!bus.write(0x61, &[7]));
        assert!(!bus.write(u64::MAX, &[7, 8]));
    }
}
