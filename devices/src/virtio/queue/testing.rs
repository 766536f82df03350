//! The driver's half of a queue, for tests: written from the specification and sharing no code with the
//! device's half, so that a mistake in one is not hidden by the same mistake in the other.
//!
//! It believes nothing about the device: a completion must name a request that is outstanding, once,
//! and must not claim more bytes than the request can take. A device that never completes is found by
//! [`Driver::completed`] returning nothing, never by looking at the driver's own index.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fixture: it fails loudly, and no guest reaches it"
)]

use std::collections::HashMap;

use cloister_coco::memory::SharedMemory;

use super::QueueConfig;

/// A buffer of a request under construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buffer {
    /// The device reads these bytes.
    Readable(u64, u32),
    /// The device may write these bytes.
    Writable(u64, u32),
}

/// A completion as the device wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// The head of the request.
    pub head: u16,
    /// Bytes the device says it wrote.
    pub len: u32,
}

/// What a device did wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceFault {
    /// A completion of something that is not outstanding.
    Unknown(u32),
    /// A completion that claims more bytes than the request's writable buffers have.
    Overlong {
        /// The request.
        head: u16,
        /// Bytes claimed.
        claimed: u32,
        /// Bytes there are.
        writable: u32,
    },
    /// More completions than there are requests.
    TooMany,
}

/// A driver's view of one split queue. Buffers are handed out from an arena after the rings.
#[derive(Debug)]
pub struct Driver {
    mem: SharedMemory,
    config: QueueConfig,
    free: Vec<u16>,
    avail_idx: u16,
    seen_used: u16,
    outstanding: HashMap<u16, Request>,
    arena: (u64, u64, u64),
    published: u16,
}

#[derive(Debug)]
struct Request {
    descriptors: Vec<u16>,
    writable: u32,
}

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

impl Driver {
    /// Lays out a queue of `size` at `base` (page aligned) with its buffers behind it, up to `end`.
    pub fn new(mem: &SharedMemory, base: u64, end: u64, size: u16) -> Driver {
        let n = u64::from(size);
        let desc = base;
        let driver = desc + 16 * n;
        let device = (driver + 4 + 2 * n + 2).next_multiple_of(4);
        let arena = (device + 4 + 8 * n + 2).next_multiple_of(4096);
        assert!(arena < end, "no room for buffers behind the rings");
        let config = QueueConfig { size, desc, driver, device, event_idx: false, indirect: true };
        mem.write(base, &vec![0; usize::try_from(arena - base).unwrap()]).unwrap();
        Driver {
            mem: mem.clone(),
            config,
            free: (0..size).rev().collect(),
            avail_idx: 0,
            seen_used: 0,
            outstanding: HashMap::new(),
            arena: (arena, end, arena),
            published: 0,
        }
    }

    /// With EVENT_IDX negotiated.
    pub fn with_event_idx(mut self) -> Driver {
        self.config.event_idx = true;
        self
    }

    /// The configuration for the device's half.
    pub fn config(&self) -> QueueConfig {
        self.config
    }

    /// The memory that the queue is in.
    pub fn memory(&self) -> &SharedMemory {
        &self.mem
    }

    /// Fresh bytes from the arena, which begins anew at its end: buffers long completed are reused.
    pub fn alloc(&mut self, len: u32) -> u64 {
        let (begin, end, at) = self.arena;
        let len = u64::from(len).next_multiple_of(8);
        let at = if at + len > end { begin } else { at };
        assert!(at + len <= end, "a buffer larger than the arena");
        self.arena.2 = at + len;
        at
    }

    /// A buffer that holds `bytes`, for the device to read.
    pub fn readable(&mut self, bytes: &[u8]) -> Buffer {
        let len = u32::try_from(bytes.len()).unwrap();
        let gpa = self.alloc(len);
        self.mem.write(gpa, bytes).unwrap();
        Buffer::Readable(gpa, len)
    }

    /// A buffer of `len` bytes for the device to write.
    pub fn writable(&mut self, len: u32) -> Buffer {
        Buffer::Writable(self.alloc(len), len)
    }

    /// Writes descriptor `index` of the table, as it is.
    pub fn set_descriptor(&self, index: u16, addr: u64, len: u32, flags: u16, next: u16) {
        write_descriptor(&self.mem, self.config.desc + 16 * u64::from(index), addr, len, flags, next);
    }

    /// Chains `buffers` and puts the head into the available ring; the device does not see it before
    /// [`Driver::publish`].
    pub fn add(&mut self, buffers: &[Buffer]) -> u16 {
        let at = self.free.len() - buffers.len();
        let descriptors: Vec<u16> = self.free.drain(at..).rev().collect();
        for (i, buffer) in buffers.iter().enumerate() {
            let (addr, len, flags) = parts(*buffer);
            let next = descriptors.get(i + 1).copied();
            let flags = flags | if next.is_some() { NEXT } else { 0 };
            self.set_descriptor(descriptors[i], addr, len, flags, next.unwrap_or(0));
        }
        self.enqueue(descriptors, writable_len(buffers))
    }

    /// The same through an indirect table.
    pub fn add_indirect(&mut self, buffers: &[Buffer]) -> u16 {
        let table_len = u32::try_from(buffers.len() * 16).unwrap();
        let table = self.alloc(table_len);
        for (i, buffer) in buffers.iter().enumerate() {
            let (addr, len, flags) = parts(*buffer);
            let last = i + 1 == buffers.len();
            let (flags, next) = if last { (flags, 0) } else { (flags | NEXT, i as u16 + 1) };
            write_descriptor(&self.mem, table + 16 * i as u64, addr, len, flags, next);
        }
        let head = self.free.pop().expect("no free descriptor");
        self.set_descriptor(head, table, table_len, INDIRECT, 0);
        self.enqueue(vec![head], writable_len(buffers))
    }

    /// Puts a head into the available ring, whatever it is: a driver gone wrong.
    pub fn add_raw(&mut self, head: u16) {
        let slot = u64::from(self.avail_idx % self.config.size);
        self.mem.store_u16(self.config.driver + 4 + 2 * slot, head).unwrap();
        self.avail_idx = self.avail_idx.wrapping_add(1);
    }

    /// Puts a head into the available ring and expects its completion, with descriptors that the test
    /// wrote itself.
    pub fn add_head(&mut self, head: u16, writable: u32) {
        self.free.retain(|&d| d != head);
        self.enqueue(vec![head], writable);
    }

    /// Shows the device everything added so far; says whether the driver must ring the doorbell.
    pub fn publish(&mut self) -> bool {
        let old = std::mem::replace(&mut self.published, self.avail_idx);
        let new = self.avail_idx;
        self.mem.store_u16(self.config.driver + 2, new).unwrap();
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        if self.config.event_idx {
            let event = self.config.device + 4 + 8 * u64::from(self.config.size);
            let event = self.mem.load_u16(event).unwrap();
            // The kick is due if `event` is among the indices old, old+1, …, new-1.
            event.wrapping_sub(old) < new.wrapping_sub(old)
        } else {
            self.mem.load_u16(self.config.device).unwrap() & 1 == 0
        }
    }

    /// Shows the device an available index of the test's choice.
    pub fn publish_index(&mut self, index: u16) {
        self.mem.store_u16(self.config.driver + 2, index).unwrap();
    }

    /// Tells the device whether the driver wants interrupts (without EVENT_IDX).
    pub fn set_no_interrupt(&self, no_interrupt: bool) {
        self.mem.store_u16(self.config.driver, u16::from(no_interrupt)).unwrap();
    }

    /// Asks for an interrupt when the device's used index passes `event` (with EVENT_IDX).
    pub fn set_used_event(&self, event: u16) {
        let at = self.config.driver + 4 + 2 * u64::from(self.config.size);
        self.mem.store_u16(at, event).unwrap();
    }

    /// Asks for an interrupt at the next completion not yet seen. What was completed before the device
    /// could read this is not interrupted for: look after asking.
    pub fn want_interrupt(&self) {
        if self.config.event_idx {
            self.set_used_event(self.seen_used);
        }
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    }

    /// Completions up to now.
    pub fn used_index(&self) -> u16 {
        self.mem.load_u16(self.config.device + 2).unwrap()
    }

    /// Requests that the device has not completed.
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// The next completion, if the device wrote one; what the device may not do is an error.
    pub fn completed(&mut self) -> Result<Option<Completion>, DeviceFault> {
        let idx = self.used_index();
        if idx == self.seen_used {
            return Ok(None);
        }
        if usize::from(idx.wrapping_sub(self.seen_used)) > self.outstanding.len() {
            return Err(DeviceFault::TooMany);
        }
        let at = self.config.device + 4 + 8 * u64::from(self.seen_used % self.config.size);
        let (id, len) = (self.mem.read_obj::<u32>(at).unwrap(), self.mem.read_obj::<u32>(at + 4).unwrap());
        self.seen_used = self.seen_used.wrapping_add(1);
        let head = u16::try_from(id).map_err(|_| DeviceFault::Unknown(id))?;
        let request = self.outstanding.remove(&head).ok_or(DeviceFault::Unknown(id))?;
        self.free.extend(request.descriptors);
        if len > request.writable {
            return Err(DeviceFault::Overlong { head, claimed: len, writable: request.writable });
        }
        Ok(Some(Completion { head, len }))
    }

    /// The bytes of a buffer.
    pub fn bytes(&self, buffer: Buffer) -> Vec<u8> {
        let (gpa, len, _) = parts(buffer);
        let mut bytes = vec![0; len as usize];
        self.mem.read(gpa, &mut bytes).unwrap();
        bytes
    }

    fn enqueue(&mut self, descriptors: Vec<u16>, writable: u32) -> u16 {
        let head = descriptors[0];
        self.add_raw(head);
        self.outstanding.insert(head, Request { descriptors, writable });
        head
    }
}

fn parts(buffer: Buffer) -> (u64, u32, u16) {
    match buffer {
        Buffer::Readable(gpa, len) => (gpa, len, 0),
        Buffer::Writable(gpa, len) => (gpa, len, WRITE),
    }
}

fn writable_len(buffers: &[Buffer]) -> u32 {
    buffers.iter().map(|b| if let Buffer::Writable(_, len) = b { *len } else { 0 }).sum()
}

fn write_descriptor(mem: &SharedMemory, at: u64, addr: u64, len: u32, flags: u16, next: u16) {
    let mut bytes = [0; 16];
    bytes[0..8].copy_from_slice(&addr.to_le_bytes());
    bytes[8..12].copy_from_slice(&len.to_le_bytes());
    bytes[12..14].copy_from_slice(&flags.to_le_bytes());
    bytes[14..16].copy_from_slice(&next.to_le_bytes());
    mem.write(at, &bytes).unwrap();
}
