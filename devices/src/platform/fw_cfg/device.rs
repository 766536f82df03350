//! The ports, and transfers by DMA.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cloister_coco::memory::{AccessError, SharedMemory};
use snafu::Snafu;

use super::items::{Content, FwCfgItems};
use super::spec::{DMA_SIGNATURE, DMA_STRUCT, Key, control};
use crate::bus::BusDevice;
use crate::limit::LogLimit;

const SELECTOR: u64 = 0;
const DATA: u64 = 1;
const DMA_HIGH: u64 = 4;
const DMA_LOW: u64 = 8;
/// Bytes copied at once.
const CHUNK: usize = 256 << 10;

/// Counters of a device.
#[derive(Debug, Default)]
pub struct FwCfgCounters {
    transfers: AtomicU64,
    refused: AtomicU64,
    bytes: AtomicU64,
}

/// A copy of [`FwCfgCounters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FwCfgStats {
    /// Transfers by DMA that were done.
    pub transfers: u64,
    /// Transfers by DMA that were refused: memory that devices may not touch, items that cannot be
    /// written or read.
    pub refused: u64,
    /// Bytes given to the guest, by DMA and by port.
    pub bytes: u64,
}

impl FwCfgCounters {
    /// What has been counted so far.
    pub fn stats(&self) -> FwCfgStats {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        FwCfgStats { transfers: get(&self.transfers), refused: get(&self.refused), bytes: get(&self.bytes) }
    }
}

/// Why a transfer was refused.
#[derive(Debug, Snafu)]
enum TransferError {
    #[snafu(transparent)]
    Access { source: AccessError },
    #[snafu(display("an item cannot be read: {source}"), context(false))]
    Item { source: io::Error },
    #[snafu(display("items cannot be written"))]
    ReadOnly,
}

/// The device. It answers on the vCPU's thread: a transfer takes as long as the guest asked for bytes.
#[derive(Debug)]
pub struct FwCfg {
    mem: SharedMemory,
    items: BTreeMap<Key, Content>,
    selected: Key,
    offset: u32,
    dma_high: u32,
    counters: Arc<FwCfgCounters>,
    log: LogLimit,
}

impl FwCfg {
    /// The first I/O port.
    pub const PORT: u64 = 0x510;
    /// Number of ports.
    pub const LEN: u64 = 12;

    /// A device with these items, that reaches `mem` by DMA.
    pub fn new(items: FwCfgItems, mem: SharedMemory) -> Self {
        FwCfg {
            mem,
            items: items.finish(),
            selected: Key::SIGNATURE,
            offset: 0,
            dma_high: 0,
            counters: Arc::default(),
            log: LogLimit::default(),
        }
    }

    /// Its counters.
    pub fn counters(&self) -> &Arc<FwCfgCounters> {
        &self.counters
    }

    fn select(&mut self, key: u16) {
        self.selected = Key(key);
        self.offset = 0;
    }

    /// The next bytes of the selected item, zeros where there are none.
    fn next(&mut self, buf: &mut [u8]) -> io::Result<()> {
        let read = match self.items.get_mut(&self.selected) {
            Some(content) => content.read(self.offset, buf),
            None => {
                buf.fill(0);
                Ok(())
            }
        };
        self.skip(u32::try_from(buf.len()).unwrap_or(u32::MAX));
        self.counters.bytes.fetch_add(buf.len() as u64, Ordering::Relaxed);
        read
    }

    fn skip(&mut self, len: u32) {
        self.offset = self.offset.saturating_add(len);
    }

    /// Does what the structure at `address` asks for, and tells the outcome there.
    fn dma(&mut self, address: u64) {
        let mut request = [0; DMA_STRUCT];
        // Read once, into our own memory.
        let outcome = self.mem.read(address, &mut request).map_err(TransferError::from);
        let outcome = outcome.and_then(|()| {
            let done = self.transfer(&request);
            let status = if done.is_ok() { 0 } else { control::ERROR };
            self.mem.write(address, &status.to_be_bytes())?;
            done
        });
        match outcome {
            Ok(()) => _ = self.counters.transfers.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                if let Some(suppressed) = self.log.allow() {
                    tracing::warn!(suppressed, "fw_cfg transfer refused: {error}");
                }
            }
        }
    }

    fn transfer(&mut self, request: &[u8; DMA_STRUCT]) -> Result<(), TransferError> {
        let [c0, c1, c2, c3, l0, l1, l2, l3, address @ ..] = *request;
        let (wanted, len) = (u32::from_be_bytes([c0, c1, c2, c3]), u32::from_be_bytes([l0, l1, l2, l3]));
        let address = u64::from_be_bytes(address);
        if wanted & control::SELECT != 0 {
            self.select(u16::from_be_bytes([c0, c1]));
        }
        if wanted & control::READ != 0 {
            self.copy_out(address, len)
        } else if wanted & control::WRITE != 0 {
            ReadOnlySnafu.fail()
        } else {
            if wanted & control::SKIP != 0 {
                self.skip(len);
            }
            Ok(())
        }
    }

    fn copy_out(&mut self, address: u64, len: u32) -> Result<(), TransferError> {
        // All of it or nothing; every piece is checked again when it is written.
        self.mem.check(address, u64::from(len))?;
        let mut left = usize::try_from(len).unwrap_or(usize::MAX);
        let mut buffer = vec![0; left.min(CHUNK)];
        let mut at = address;
        while left > 0 {
            let Some(piece) = buffer.get_mut(..left.min(CHUNK)) else { break };
            self.next(piece)?;
            self.mem.write(at, piece)?;
            at = at.saturating_add(piece.len() as u64);
            left = left.saturating_sub(piece.len());
        }
        Ok(())
    }
}

impl BusDevice for FwCfg {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        match (offset, data) {
            (DATA, [byte]) => {
                let mut next = [0];
                // By port there is no way to tell of an error: zero.
                if let Err(error) = self.next(&mut next)
                    && let Some(suppressed) = self.log.allow()
                {
                    tracing::warn!(suppressed, "fw_cfg item cannot be read: {error}");
                }
                [*byte] = next;
            }
            (DMA_HIGH.., data) => {
                let at = usize::try_from(offset.saturating_sub(DMA_HIGH)).unwrap_or(usize::MAX);
                let signature = DMA_SIGNATURE.get(at..).unwrap_or_default();
                data.iter_mut().zip(signature).for_each(|(to, from)| *to = *from);
            }
            _ => {}
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        match (offset, data) {
            (SELECTOR, &[low, high]) => self.select(u16::from_le_bytes([low, high])),
            (DMA_HIGH, &[a, b, c, d]) => self.dma_high = u32::from_be_bytes([a, b, c, d]),
            (DMA_LOW, &[a, b, c, d]) => {
                let high = u64::from(std::mem::take(&mut self.dma_high)) << 32;
                self.dma(high | u64::from(u32::from_be_bytes([a, b, c, d])));
            }
            _ => {}
        }
    }
}
