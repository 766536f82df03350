//! Fakes of what the board gives to PCI functions, and a guest's hands on the bus.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fixture: it fails loudly, and no guest reaches it"
)]

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::{ConfigPorts, PciMmio, PciRoot, Slot};
use crate::bus::BusDevice;
use crate::irq::{MsiAllocator, MsiMessage, MsiVector};
use crate::notify::DoorbellRegistry;

/// Interrupt vectors that write down what happens to them. Clones share the record.
#[derive(Debug, Clone, Default)]
pub struct FakeMsi {
    vectors: Arc<(Mutex<Vec<FakeVector>>, Condvar)>,
}

/// One vector's record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FakeVector {
    /// What it is programmed to.
    pub message: Option<MsiMessage>,
    /// How often it was triggered.
    pub triggered: u64,
    /// Triggered while masked: what a function must never do.
    pub lost: u64,
}

struct Handle {
    msi: FakeMsi,
    index: usize,
}

impl FakeMsi {
    /// The record of vector `index`, counted over all that were ever allocated.
    pub fn vector(&self, index: usize) -> FakeVector {
        self.vectors.0.lock().unwrap()[index].clone()
    }

    /// Waits until vector `index` was triggered `count` times; says whether it came to that in time.
    pub fn wait(&self, index: usize, count: u64, timeout: Duration) -> bool {
        let vectors = self.vectors.0.lock().unwrap();
        let short = |v: &mut Vec<FakeVector>| v[index].triggered < count;
        !self.vectors.1.wait_timeout_while(vectors, timeout, short).unwrap().1.timed_out()
    }
}

impl MsiAllocator for FakeMsi {
    fn allocate(&self, count: u16) -> io::Result<Vec<Arc<dyn MsiVector>>> {
        let mut vectors = self.vectors.0.lock().unwrap();
        let first = vectors.len();
        vectors.resize_with(first + usize::from(count), FakeVector::default);
        let handle = |index| Arc::new(Handle { msi: self.clone(), index }) as Arc<dyn MsiVector>;
        Ok((first..vectors.len()).map(handle).collect())
    }
}

impl MsiVector for Handle {
    fn trigger(&self) -> io::Result<()> {
        let mut vectors = self.msi.vectors.0.lock().unwrap();
        let vector = &mut vectors[self.index];
        match vector.message {
            Some(_) => vector.triggered += 1,
            None => vector.lost += 1,
        }
        self.msi.vectors.1.notify_all();
        Ok(())
    }

    fn program(&self, message: Option<MsiMessage>) -> io::Result<()> {
        // As a board would: an address outside the local APICs' page is no interrupt.
        if message.is_some_and(|m| m.address >> 20 != 0xfee) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.msi.vectors.0.lock().unwrap()[self.index].message = message;
        Ok(())
    }
}

/// Doorbells that the kernel would ring.
#[derive(Debug, Default)]
pub struct FakeDoorbells {
    registered: Mutex<BTreeSet<(u64, RawFd)>>,
}

impl FakeDoorbells {
    /// Addresses that ring.
    pub fn addresses(&self) -> Vec<u64> {
        self.registered.lock().unwrap().iter().map(|(a, _)| *a).collect()
    }
}

impl DoorbellRegistry for FakeDoorbells {
    fn register(&self, address: u64, event: BorrowedFd<'_>) -> io::Result<()> {
        let new = self.registered.lock().unwrap().insert((address, event.as_raw_fd()));
        if new { Ok(()) } else { Err(io::ErrorKind::AlreadyExists.into()) }
    }

    fn unregister(&self, address: u64, event: BorrowedFd<'_>) -> io::Result<()> {
        let there = self.registered.lock().unwrap().remove(&(address, event.as_raw_fd()));
        if there { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}

/// A guest's hands: configuration space by ports, BARs by memory.
#[derive(Debug)]
pub struct Hands {
    /// The ports.
    pub ports: ConfigPorts,
    /// The memory window.
    pub mmio: PciMmio,
    base: u64,
}

macro_rules! accessors {
    ($($config_read:ident $config_write:ident $mem_read:ident $mem_write:ident $t:ty;)*) => {$(
        /// Reads a register of the device in `slot`.
        pub fn $config_read(&mut self, slot: Slot, register: u16) -> $t {
            self.select(slot, register);
            let mut data = [0; size_of::<$t>()];
            self.ports.read(4 + u64::from(register & 3), &mut data);
            <$t>::from_le_bytes(data)
        }
        /// Writes a register of the device in `slot`.
        pub fn $config_write(&mut self, slot: Slot, register: u16, value: $t) {
            self.select(slot, register);
            self.ports.write(4 + u64::from(register & 3), &value.to_le_bytes());
        }
        /// Reads memory in the window for BARs.
        pub fn $mem_read(&mut self, address: u64) -> $t {
            let mut data = [0; size_of::<$t>()];
            self.mmio.read(address - self.base, &mut data);
            <$t>::from_le_bytes(data)
        }
        /// Writes memory in the window for BARs.
        pub fn $mem_write(&mut self, address: u64, value: $t) {
            self.mmio.write(address - self.base, &value.to_le_bytes());
        }
    )*};
}

impl Hands {
    /// Hands on `root`.
    pub fn new(root: &PciRoot) -> Self {
        let (base, _) = root.mmio_window();
        Hands { ports: ConfigPorts::new(root.clone()), mmio: PciMmio::new(root.clone()), base }
    }

    accessors! {
        config8 set_config8 mem8 set_mem8 u8;
        config16 set_config16 mem16 set_mem16 u16;
        config32 set_config32 mem32 set_mem32 u32;
    }

    /// Where BAR `bar` of the device in `slot` is.
    pub fn bar(&mut self, slot: Slot, bar: u8) -> u64 {
        u64::from(self.config32(slot, 0x10 + 4 * u16::from(bar)) & !0xf)
    }

    /// Offsets of the capabilities of the device in `slot`, with their ids, in order.
    pub fn capabilities(&mut self, slot: Slot) -> Vec<(u8, u16)> {
        let mut list = Vec::new();
        let mut at = u16::from(self.config8(slot, 0x34));
        while at != 0 {
            assert!(list.len() < 48, "the capabilities loop");
            list.push((self.config8(slot, at), at));
            at = u16::from(self.config8(slot, at + 1));
        }
        list
    }

    fn select(&mut self, slot: Slot, register: u16) {
        let address = 1 << 31 | u32::from(slot.0) << 11 | u32::from(register & 0xfc);
        self.ports.write(0, &address.to_le_bytes());
    }
}
