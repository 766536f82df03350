//! The root bus: 32 devices with one function each, and where their BARs are.

use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use snafu::Snafu;

use super::config::{BarWindow, bar_register};
use super::function::PciFunction;
use super::spec::{COMMAND, COMMAND_MEMORY};

/// Devices on a bus.
pub(super) const SLOTS: usize = 32;

/// A function as the bus holds it.
pub(super) type SharedFunction = Arc<Mutex<dyn PciFunction>>;

/// A device's number on the root bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u8);

/// Why a function could not be put on the bus: a machine too large, never a guest's doing.
#[derive(Debug, Snafu)]
pub enum PciError {
    /// No such slot, or none free.
    #[snafu(display("no free slot on the PCI bus"))]
    NoSlot,
    /// The slot has a function already.
    #[snafu(display("PCI slot {} is taken", slot.0))]
    SlotTaken {
        /// The slot.
        slot: Slot,
    },
    /// The window for BARs is full.
    #[snafu(display("no room for a BAR of {size:#x} bytes in the PCI window"))]
    NoRoom {
        /// The BAR's size.
        size: u32,
    },
}

/// The root bus. Clones are the same bus.
#[derive(Clone)]
pub struct PciRoot {
    inner: Arc<Inner>,
}

struct Inner {
    mmio: (u64, u64),
    map: RwLock<Map>,
}

#[derive(Default)]
struct Map {
    functions: [Option<SharedFunction>; SLOTS],
    windows: Vec<(Slot, BarWindow)>,
    /// Where the next BAR may be put, counted from the window's start.
    next_bar: u64,
}

impl PciRoot {
    /// An empty bus whose BARs are in `[mmio_base, mmio_base + mmio_len)`, below 4 GiB.
    pub fn new(mmio_base: u64, mmio_len: u64) -> Self {
        PciRoot { inner: Arc::new(Inner { mmio: (mmio_base, mmio_len), map: RwLock::default() }) }
    }

    /// Start and length of the window for BARs.
    pub fn mmio_window(&self) -> (u64, u64) {
        self.inner.mmio
    }

    /// Puts a function into the first free slot, places its BARs and lets it decode them.
    pub fn add<F: PciFunction + 'static>(&self, function: Arc<Mutex<F>>) -> Result<Slot, PciError> {
        let free = self.read_map(|map| map.functions.iter().position(Option::is_none));
        let slot = free.and_then(|s| u8::try_from(s).ok()).ok_or(PciError::NoSlot)?;
        self.add_at(Slot(slot), function)?;
        Ok(Slot(slot))
    }

    /// The same with a slot of the caller's choice.
    pub fn add_at<F: PciFunction + 'static>(
        &self,
        slot: Slot,
        function: Arc<Mutex<F>>,
    ) -> Result<(), PciError> {
        let function: SharedFunction = function;
        let sizes: Vec<(u8, u32)> = lock(&function).space().bar_sizes().filter(|b| b.1 > 0).collect();
        self.write_map(|map| match map.functions.get_mut(usize::from(slot.0)) {
            None => Err(PciError::NoSlot),
            Some(Some(_)) => Err(PciError::SlotTaken { slot }),
            Some(free) => {
                *free = Some(Arc::clone(&function));
                Ok(())
            }
        })?;
        // What firmware would do: addresses first, then decoding.
        for (bar, size) in &sizes {
            let base = self.allocate(*size)?;
            self.config_write(slot, bar_register(*bar), &base.to_le_bytes());
        }
        if !sizes.is_empty() {
            self.config_write(slot, COMMAND, &COMMAND_MEMORY.to_le_bytes());
        }
        Ok(())
    }

    /// The guest reads configuration space. Nobody there: all ones.
    pub(super) fn config_read(&self, slot: Slot, offset: u16, data: &mut [u8]) {
        match self.function(slot) {
            Some(function) => lock(&function).config_read(offset, data),
            None => data.fill(0xff),
        }
    }

    /// The guest writes configuration space, and so perhaps moves a BAR.
    pub(super) fn config_write(&self, slot: Slot, offset: u16, data: &[u8]) {
        let Some(function) = self.function(slot) else { return };
        let mut function = lock(&function);
        function.config_write(offset, data);
        let (base, len) = self.inner.mmio;
        let end = base.saturating_add(len);
        let mut windows = function.space().windows();
        windows.retain(|w| w.base >= base && w.base.checked_add(w.size).is_some_and(|e| e <= end));
        // The function's lock is held: no other change of the same function can come in between.
        let moved = self.write_map(|map| {
            let before = map.windows.iter().filter(|(s, _)| *s == slot).map(|(_, w)| *w);
            if before.eq(windows.iter().copied()) {
                return false;
            }
            map.windows.retain(|(s, _)| *s != slot);
            map.windows.extend(windows.iter().map(|w| (slot, *w)));
            // Where a guest lets BARs overlap, the lower slot answers, always.
            map.windows.sort_by_key(|(s, w)| (*s, w.bar));
            true
        });
        if moved {
            function.bars_moved(&windows);
        }
    }

    /// The guest reads from the window for BARs. Nobody there: all ones.
    pub(super) fn mmio_read(&self, address: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let Some((function, bar, offset)) = self.decode(address, data.len()) {
            lock(&function).bar_read(bar, offset, data);
        }
    }

    /// The guest writes to the window for BARs.
    pub(super) fn mmio_write(&self, address: u64, data: &[u8]) {
        if let Some((function, bar, offset)) = self.decode(address, data.len()) {
            lock(&function).bar_write(bar, offset, data);
        }
    }

    fn decode(&self, address: u64, len: usize) -> Option<(SharedFunction, u8, u64)> {
        self.read_map(|map| {
            map.windows.iter().find_map(|(slot, w)| {
                let offset = address.checked_sub(w.base)?;
                if offset.checked_add(len as u64)? > w.size {
                    return None;
                }
                let function = map.functions.get(usize::from(slot.0))?.clone()?;
                Some((function, w.bar, offset))
            })
        })
    }

    fn function(&self, slot: Slot) -> Option<SharedFunction> {
        self.read_map(|map| map.functions.get(usize::from(slot.0)).cloned().flatten())
    }

    /// A naturally aligned place for a BAR.
    fn allocate(&self, size: u32) -> Result<u32, PciError> {
        let (base, len) = self.inner.mmio;
        let no_room = PciError::NoRoom { size };
        self.write_map(|map| {
            let at = base.saturating_add(map.next_bar).next_multiple_of(u64::from(size.max(1)));
            let end = at.saturating_add(u64::from(size));
            match u32::try_from(at) {
                Ok(address) if end <= base.saturating_add(len) => {
                    map.next_bar = end.saturating_sub(base);
                    Ok(address)
                }
                _ => Err(no_room),
            }
        })
    }

    fn read_map<R>(&self, f: impl FnOnce(&Map) -> R) -> R {
        f(&self.inner.map.read().unwrap_or_else(|e| e.into_inner()))
    }

    fn write_map<R>(&self, f: impl FnOnce(&mut Map) -> R) -> R {
        f(&mut self.inner.map.write().unwrap_or_else(|e| e.into_inner()))
    }
}

impl std::fmt::Debug for PciRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let windows = self.read_map(|map| map.windows.clone());
        f.debug_struct("PciRoot").field("windows", &windows).finish_non_exhaustive()
    }
}

fn lock(function: &SharedFunction) -> MutexGuard<'_, dyn PciFunction + 'static> {
    function.lock().unwrap_or_else(|e| e.into_inner())
}
