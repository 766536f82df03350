//! From a head to a checked chain: every descriptor is read once, into our own memory.

use cloister_coco::memory::{AccessError, SharedMemory};
use zerocopy::{FromZeros, IntoBytes};

use super::config::{DESC_TABLE, QueueConfig, unreachable};
use super::error::{ChainError, QueueError};
use super::spec::{DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, DESC_SIZE, Descriptor};
use super::{Chain, Segment};

/// The most buffers in one request. Drivers stay below the queue's size (virtio 1.3 §2.7.5.3.1), and
/// no back end takes more (IOV_MAX).
pub const MAX_SEGMENTS: usize = 1024;

/// What stopped a walk.
#[derive(Debug)]
pub(super) enum WalkError {
    /// The ring itself cannot be read.
    Queue(QueueError),
    /// This request is malformed.
    Chain(ChainError),
}

impl From<ChainError> for WalkError {
    fn from(e: ChainError) -> Self {
        WalkError::Chain(e)
    }
}

/// Follows the chain from `head`, which is inside the table. `scratch` is reused from walk to walk.
pub(super) fn walk(
    mem: &SharedMemory,
    queue: &QueueConfig,
    head: u16,
    scratch: &mut Vec<Descriptor>,
) -> Result<Chain, WalkError> {
    let mut build = Builder { mem, segments: Vec::new(), split: 0, total: 0 };
    let mut index = head;
    for _ in 0..queue.size {
        let desc = table_entry(mem, queue, index)?;
        let flags = desc.flags.get();
        if flags & DESC_F_INDIRECT != 0 {
            if !queue.indirect {
                return Err(ChainError::IndirectNotNegotiated.into());
            }
            if flags & DESC_F_NEXT != 0 {
                return Err(ChainError::IndirectAndNext.into());
            }
            read_indirect(mem, &desc, scratch)?;
            walk_indirect(&mut build, scratch)?;
            return Ok(build.finish(head));
        }
        build.add(&desc)?;
        if flags & DESC_F_NEXT == 0 {
            return Ok(build.finish(head));
        }
        index = desc.next.get();
        if index >= queue.size {
            return Err(ChainError::NextOutOfRange { next: index, size: u64::from(queue.size) }.into());
        }
    }
    Err(ChainError::Loop.into())
}

fn table_entry(mem: &SharedMemory, queue: &QueueConfig, index: u16) -> Result<Descriptor, WalkError> {
    let gpa = queue.desc.saturating_add(u64::from(index).saturating_mul(DESC_SIZE));
    mem.read_obj(gpa).map_err(|e| WalkError::Queue(unreachable(DESC_TABLE)(e)))
}

/// Copies an indirect table out of guest memory, whole and once.
fn read_indirect(
    mem: &SharedMemory,
    desc: &Descriptor,
    table: &mut Vec<Descriptor>,
) -> Result<(), ChainError> {
    let len = desc.len.get();
    let bad = || ChainError::BadIndirectLength { len };
    let count = usize::try_from(u64::from(len) / DESC_SIZE).map_err(|_| bad())?;
    if !u64::from(len).is_multiple_of(DESC_SIZE) || count == 0 || count > MAX_SEGMENTS {
        return Err(bad());
    }
    table.clear();
    table.resize(count, Descriptor::new_zeroed());
    mem.read(desc.addr.get(), table.as_mut_slice().as_mut_bytes()).map_err(not_reachable)
}

fn walk_indirect(build: &mut Builder<'_>, table: &[Descriptor]) -> Result<(), ChainError> {
    let size = table.len() as u64;
    let mut index = 0u16;
    for _ in 0..table.len() {
        let out = ChainError::NextOutOfRange { next: index, size };
        let desc = table.get(usize::from(index)).ok_or(out)?;
        let flags = desc.flags.get();
        if flags & DESC_F_INDIRECT != 0 {
            return Err(ChainError::NestedIndirect);
        }
        build.add(desc)?;
        if flags & DESC_F_NEXT == 0 {
            return Ok(());
        }
        index = desc.next.get();
    }
    Err(ChainError::Loop)
}

fn not_reachable(source: AccessError) -> ChainError {
    ChainError::Unreachable { source }
}

struct Builder<'a> {
    mem: &'a SharedMemory,
    segments: Vec<Segment>,
    split: usize,
    total: u32,
}

impl Builder<'_> {
    fn add(&mut self, desc: &Descriptor) -> Result<(), ChainError> {
        let (gpa, len) = (desc.addr.get(), desc.len.get());
        if len == 0 {
            return Err(ChainError::ZeroLength { gpa });
        }
        if self.segments.len() >= MAX_SEGMENTS {
            return Err(ChainError::TooManySegments { max: MAX_SEGMENTS });
        }
        self.total = self.total.checked_add(len).ok_or(ChainError::TotalTooLong)?;
        if desc.flags.get() & DESC_F_WRITE == 0 {
            if self.split < self.segments.len() {
                return Err(ChainError::ReadableAfterWritable);
            }
            self.split = self.split.saturating_add(1);
        }
        self.mem.check(gpa, u64::from(len)).map_err(not_reachable)?;
        self.segments.push((gpa, len));
        Ok(())
    }

    fn finish(self, head: u16) -> Chain {
        Chain::new(head, self.segments, self.split)
    }
}
