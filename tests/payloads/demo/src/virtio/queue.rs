//! A split virtqueue in the bounce region. Every descriptor has a buffer of its own, for good. A request
//! is one descriptor or a chain of some.
//!
//! What the device writes is copied once and checked: an index that runs ahead, a descriptor that it
//! does not hold, a length beyond the buffer end the queue's use.

use crate::error::HostError;
use crate::platform::Bounce;

/// Descriptors in a queue.
pub const QUEUE_SIZE: u16 = 16;

const DESCRIPTORS: usize = 0x000;
const AVAILABLE: usize = 0x400;
const USED: usize = 0x800;
/// Bytes of the bounce region that a queue takes, without buffers.
const LEN: usize = 0xc00;

const DESCRIPTOR_LEN: usize = 16;
const DESCRIPTOR_NEXT: u16 = 1 << 0;
const DESCRIPTOR_WRITE: u16 = 1 << 1;
const RING_INDEX: usize = 2;
const RING: usize = 4;
const USED_ELEMENT_LEN: usize = 8;
const AVAILABLE_NO_INTERRUPT: u16 = 1;
const USED_NO_NOTIFY: u16 = 1;

/// Part of a request: `len` bytes of a descriptor's buffer, for the device to read or to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The descriptor.
    pub descriptor: u16,
    /// Bytes, from the buffer's first on.
    pub len: u32,
    /// Whether the device writes them.
    pub writable: bool,
}

/// A queue, and who holds which of its descriptors.
#[derive(Debug)]
pub struct Queue {
    base: usize,
    buffers: usize,
    buffer_len: u32,
    /// Lengths of the requests that the device holds, by their first descriptor; 0 for those that we hold.
    held: [u32; QUEUE_SIZE as usize],
    next_available: u16,
    next_used: u16,
}

impl Queue {
    /// A queue at `base` in the bounce region, with buffers of `buffer_len` bytes from `buffers` on.
    pub fn new(
        bounce: &mut impl Bounce,
        base: usize,
        buffers: usize,
        buffer_len: u32,
    ) -> Result<Self, HostError> {
        let zeros = [0u8; LEN];
        let quiet =
            bounce.write(base, &zeros) && bounce.store(offset(base, AVAILABLE), AVAILABLE_NO_INTERRUPT);
        if !quiet {
            return Err(HostError::Bounce);
        }
        let held = [0; QUEUE_SIZE as usize];
        Ok(Queue { base, buffers, buffer_len, held, next_available: 0, next_used: 0 })
    }

    /// Guest-physical addresses of descriptors, available ring and used ring.
    pub fn addresses(&self, bounce: &impl Bounce) -> [u64; 3] {
        [DESCRIPTORS, AVAILABLE, USED].map(|part| bounce.gpa().saturating_add(offset(self.base, part) as u64))
    }

    /// Where the buffer of a descriptor lies in the bounce region.
    pub fn buffer(&self, descriptor: u16) -> usize {
        let before = usize::from(descriptor).saturating_mul(self.buffer_len as usize);
        offset(self.buffers, before)
    }

    /// A descriptor below `limit` that we hold.
    pub fn free(&self, limit: u16) -> Option<u16> {
        (0..limit.min(QUEUE_SIZE)).find(|d| self.held.get(usize::from(*d)) == Some(&0))
    }

    /// Gives the device a descriptor: `len` bytes of its buffer, to read or to write.
    pub fn give(
        &mut self,
        bounce: &mut impl Bounce,
        descriptor: u16,
        len: u32,
        writable: bool,
    ) -> Result<(), HostError> {
        self.give_chain(bounce, &[Part { descriptor, len, writable }])
    }

    /// Gives the device a request of these parts, in this order. It comes back by its first descriptor; until
    /// then the others are not to be used either.
    pub fn give_chain(&mut self, bounce: &mut impl Bounce, parts: &[Part]) -> Result<(), HostError> {
        let head = parts.first().ok_or(HostError::Bounce)?.descriptor;
        let mut total = 0u32;
        for (i, part) in parts.iter().enumerate() {
            let next = parts.get(i.saturating_add(1)).map(|next| next.descriptor);
            if part.len == 0 || part.len > self.buffer_len || !self.describe(bounce, part, next) {
                return Err(HostError::Bounce);
            }
            total = total.saturating_add(part.len);
        }
        let slot = offset(self.base, AVAILABLE + RING)
            .saturating_add(usize::from(self.next_available % QUEUE_SIZE) << 1);
        let next = self.next_available.wrapping_add(1);
        let held = self.held.get_mut(usize::from(head)).ok_or(HostError::Bounce)?;
        let written = bounce.write(slot, &head.to_le_bytes())
            && bounce.store(offset(self.base, AVAILABLE + RING_INDEX), next);
        if !written {
            return Err(HostError::Bounce);
        }
        *held = total;
        self.next_available = next;
        Ok(())
    }

    /// Writes a descriptor, and which one follows it. The device does not look at it yet.
    fn describe(&self, bounce: &mut impl Bounce, part: &Part, next: Option<u16>) -> bool {
        let buffer = bounce.gpa().saturating_add(self.buffer(part.descriptor) as u64);
        let flags = if part.writable { DESCRIPTOR_WRITE } else { 0 };
        let flags = if next.is_some() { flags | DESCRIPTOR_NEXT } else { flags };
        let mut bytes = [0; DESCRIPTOR_LEN];
        let fields = buffer.to_le_bytes().into_iter().chain(part.len.to_le_bytes());
        let fields = fields.chain(flags.to_le_bytes()).chain(next.unwrap_or(0).to_le_bytes());
        bytes.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        let at = usize::from(part.descriptor).saturating_mul(DESCRIPTOR_LEN);
        part.descriptor < QUEUE_SIZE
            && bounce.write(offset(self.base, DESCRIPTORS).saturating_add(at), &bytes)
    }

    /// Whether the device wants to be told about what we gave it.
    pub fn wants_notification(&self, bounce: &impl Bounce) -> bool {
        bounce.load(offset(self.base, USED)).is_none_or(|flags| flags & USED_NO_NOTIFY == 0)
    }

    /// Takes back a descriptor that the device is done with, and how many bytes it wrote.
    pub fn take(&mut self, bounce: &impl Bounce) -> Result<Option<(u16, u32)>, HostError> {
        let index = bounce.load(offset(self.base, USED + RING_INDEX)).ok_or(HostError::Bounce)?;
        let ready = index.wrapping_sub(self.next_used);
        if ready == 0 {
            return Ok(None);
        }
        let held = self.held.iter().filter(|len| **len != 0).count();
        if usize::from(ready) > held {
            return Err(HostError::Ring("the used index runs ahead"));
        }
        let slot = usize::from(self.next_used % QUEUE_SIZE).saturating_mul(USED_ELEMENT_LEN);
        let mut element = [0; USED_ELEMENT_LEN];
        if !bounce.read(offset(self.base, USED + RING).saturating_add(slot), &mut element) {
            return Err(HostError::Bounce);
        }
        let [i0, i1, i2, i3, l0, l1, l2, l3] = element;
        let (id, len) = (u32::from_le_bytes([i0, i1, i2, i3]), u32::from_le_bytes([l0, l1, l2, l3]));
        let descriptor = u16::try_from(id).map_err(|_| HostError::Ring("no such descriptor"))?;
        let given =
            self.held.get_mut(usize::from(descriptor)).ok_or(HostError::Ring("no such descriptor"))?;
        if *given == 0 {
            return Err(HostError::Ring("a descriptor came back twice"));
        }
        if len > *given {
            return Err(HostError::Ring("more bytes than the buffer has"));
        }
        *given = 0;
        self.next_used = self.next_used.wrapping_add(1);
        Ok(Some((descriptor, len)))
    }
}

fn offset(base: usize, part: usize) -> usize {
    base.saturating_add(part)
}

#[cfg(test)]
#[path = "queue_test.rs"]
mod tests;
