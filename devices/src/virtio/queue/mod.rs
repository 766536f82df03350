//! Split virtqueues, the device's side (virtio 1.3 §2.7).
//!
//! Nothing in a ring is trusted. A queue's addresses and size are checked once, when the driver is
//! ready ([`Queue::new`]); after that, every value is read once, copied out and checked.
//! What is wrong is told apart by what it costs:
//!
//! - an error of one request ([`ChainError`]): the queue completes the request with length 0, counts it
//!   and goes on; devices never see it;
//! - an error of the queue ([`QueueError`]): the ring cannot be believed any more, and the device sets
//!   DEVICE_NEEDS_RESET.
//!
//! Buffers are described by [`Segment`]s and reached by [`Reader`] and [`Writer`], or by vectored I/O
//! without a copy through [`cloister_coco::memory::SharedMemory::with_slices`]. Privacy is asked again at
//! each access: a page that turns private under a request is an error of that access.

mod access;
mod chain;
mod config;
mod counters;
mod cursor;
mod error;
mod reader;
mod ring;
mod spec;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod walk;
mod writer;

pub use chain::{Chain, Segment};
pub use config::{MAX_QUEUE_SIZE, QueueConfig};
pub use counters::{QueueCounters, QueueStats};
pub use error::{ChainError, QueueError, TransferError};
pub use reader::Reader;
pub use ring::Queue;
pub use walk::MAX_SEGMENTS;
pub use writer::Writer;
