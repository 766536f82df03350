//! What can be wrong with a queue, with one request, and with an access to its buffers.

use cloister_coco::memory::AccessError;
use snafu::Snafu;

/// A queue that cannot be believed: the device needs a reset.
#[derive(Debug, Clone, PartialEq, Eq, Snafu)]
#[snafu(context(suffix(QueueSnafu)), visibility(pub(super)))]
pub enum QueueError {
    /// The size is zero, not a power of two, or too large.
    #[snafu(display("queue size {size} is not a power of two up to {max}"))]
    BadSize {
        /// The size asked for.
        size: u16,
        /// The largest one.
        max: u16,
    },
    /// An area is not aligned as it must be.
    #[snafu(display("the {area} at {gpa:#x} is not aligned to {align}"))]
    Misaligned {
        /// Which area.
        area: &'static str,
        /// Where it is.
        gpa: u64,
        /// Its alignment.
        align: u64,
    },
    /// An area is not, or no longer, in shared RAM.
    #[snafu(display("the {area} cannot be reached: {source}"))]
    Unreachable {
        /// Which area.
        area: &'static str,
        /// Why.
        source: AccessError,
    },
    /// The driver's index is further ahead than the queue is long.
    #[snafu(display("the driver made {ahead} requests available in a queue of {size}"))]
    IndexJump {
        /// Requests outstanding, if the index is believed.
        ahead: u16,
        /// The queue's size.
        size: u16,
    },
    /// A head that is no descriptor of the table: there is no way to complete it.
    #[snafu(display("head {head} is outside the descriptor table of {size}"))]
    HeadOutOfRange {
        /// The head.
        head: u16,
        /// The queue's size.
        size: u16,
    },
    /// A completion that nobody asked for; a mistake of the device's.
    #[snafu(display("completion of {head}, but no request is outstanding"))]
    NothingOutstanding {
        /// The head to be completed.
        head: u16,
    },
}

/// A request that is malformed: it is completed with length 0 and the queue goes on.
#[derive(Debug, Clone, PartialEq, Eq, Snafu)]
#[snafu(context(suffix(ChainSnafu)), visibility(pub(super)))]
pub enum ChainError {
    /// `next` points outside its table.
    #[snafu(display("descriptor {next} is outside its table of {size}"))]
    NextOutOfRange {
        /// The index.
        next: u16,
        /// Descriptors in the table.
        size: u64,
    },
    /// More descriptors were followed than the table has.
    #[snafu(display("the chain loops"))]
    Loop,
    /// More buffers than a request may have.
    #[snafu(display("more than {max} buffers in a request"))]
    TooManySegments {
        /// The largest number.
        max: usize,
    },
    /// A buffer of no bytes.
    #[snafu(display("a buffer of no bytes at {gpa:#x}"))]
    ZeroLength {
        /// Its address.
        gpa: u64,
    },
    /// More than 4 GiB in all (virtio 1.3 §2.7.4.2 lets no chain be longer).
    #[snafu(display("the buffers of a request exceed 4 GiB"))]
    TotalTooLong,
    /// A buffer to read from after one to write to (§2.7.4.2).
    #[snafu(display("a readable buffer follows a writable one"))]
    ReadableAfterWritable,
    /// An indirect table, though the feature was not negotiated.
    #[snafu(display("an indirect table, which was not negotiated"))]
    IndirectNotNegotiated,
    /// An indirect table inside an indirect table (§2.7.5.3.1).
    #[snafu(display("an indirect table inside an indirect table"))]
    NestedIndirect,
    /// INDIRECT and NEXT in one descriptor (§2.7.5.3.1).
    #[snafu(display("a descriptor is both indirect and chained"))]
    IndirectAndNext,
    /// An indirect table that is empty, not whole descriptors, or longer than a request may be.
    #[snafu(display("an indirect table of {len} bytes"))]
    BadIndirectLength {
        /// Its length in bytes.
        len: u32,
    },
    /// A buffer or an indirect table that is not in shared RAM.
    #[snafu(display("{source}"))]
    Unreachable {
        /// Why.
        source: AccessError,
    },
}

/// An access to a request's buffers that failed: an error of that request.
#[derive(Debug, Snafu)]
#[snafu(context(suffix(TransferSnafu)), visibility(pub(super)))]
pub enum TransferError {
    /// The buffers end before the bytes do.
    #[snafu(display("{wanted} bytes wanted, {remaining} remain in the request's buffers"))]
    Short {
        /// Bytes asked for.
        wanted: usize,
        /// Bytes left.
        remaining: usize,
    },
    /// The buffer is not, or no longer, in shared RAM.
    #[snafu(display("{source}"))]
    Memory {
        /// Why.
        source: AccessError,
    },
    /// The file at the other end refused; [`std::io::ErrorKind::WouldBlock`] included.
    #[snafu(display("{source}"))]
    Io {
        /// Why.
        source: std::io::Error,
    },
}

impl From<AccessError> for TransferError {
    fn from(source: AccessError) -> Self {
        TransferError::Memory { source }
    }
}
