//! Answers the driver's requests.

use std::io;
use std::sync::Arc;

use snafu::Snafu;

use super::counters::BlkCounters;
use super::disk::Disk;
use super::spec::{Header, ID_SIZE, Kind, Status};
use crate::virtio::queue::{Chain, QueueError, TransferError, Writer};
use crate::virtio::worker::{Ctx, Handler, Ready, Token};
use crate::virtio::{ActiveQueue, Failure};

/// Requests answered before others get their turn.
const BATCH: usize = 16;
/// Bytes read from the disk at once. They come into our own memory first: a read may block, which
/// must not happen while guest memory is held.
const CHUNK: usize = 128 << 10;
const KICK: Token = Token(0);

/// What GET_ID answers: a disk's serial number, the same for every disk.
const ID: [u8; ID_SIZE] = *b"cloister\0\0\0\0\0\0\0\0\0\0\0\0";

/// Why a request failed; the status says it to the driver.
#[derive(Debug, Snafu)]
enum RequestError {
    #[snafu(transparent)]
    Transfer { source: TransferError },
    #[snafu(display("reading the image: {source}"), context(false))]
    Disk { source: io::Error },
    #[snafu(display("{len} bytes at sector {sector} are no whole sectors of the disk"))]
    Range { sector: u64, len: u64 },
    #[snafu(display("the disk cannot be written"))]
    ReadOnly,
    #[snafu(display("the device is being reset"))]
    Stopped,
    #[snafu(display("a request of type {kind}, which was not offered"))]
    Unsupported { kind: u32 },
}

impl RequestError {
    fn status(&self) -> Status {
        match self {
            RequestError::Unsupported { .. } => Status::UNSUPPORTED,
            _ => Status::IO_ERROR,
        }
    }
}

/// The state of an active block device.
#[derive(Debug)]
pub(super) struct BlkHandler {
    queue: ActiveQueue,
    failure: Failure,
    disk: Disk,
    counters: Arc<BlkCounters>,
    buffer: Vec<u8>,
    broken: bool,
}

impl BlkHandler {
    pub(super) fn new(queue: ActiveQueue, failure: Failure, disk: Disk, counters: Arc<BlkCounters>) -> Self {
        BlkHandler { queue, failure, disk, counters, buffer: vec![0; CHUNK], broken: false }
    }

    /// Answers a batch of requests; true if there are more. A request may be of 4 GiB: where the device is
    /// to stop, what waits for that (a vCPU that resets it, the end of the VM) waits for a piece and no more.
    fn serve(&mut self, stopping: &dyn Fn() -> bool) -> Result<bool, QueueError> {
        for _ in 0..BATCH {
            if stopping() {
                return Ok(false);
            }
            let Some(chain) = self.queue.queue.pop()? else {
                self.queue.notify_driver()?;
                return self.queue.queue.enable_notifications();
            };
            let len = self.answer(&chain, stopping);
            self.queue.queue.push_used(chain.head(), len)?;
        }
        self.queue.notify_driver()?;
        Ok(true)
    }

    /// Does what a request asks for; how many bytes were written into it.
    fn answer(&mut self, chain: &Chain, stopping: &dyn Fn() -> bool) -> u32 {
        let mem = self.queue.queue.memory().clone();
        // The last byte is the status; without it there is nothing to answer with.
        let mut status = chain.writer(&mem);
        let data = chain.writable_len().checked_sub(1).and_then(|n| status.split_off_front(n).ok());
        let Some(mut data) = data else {
            self.counters.failed();
            return 0;
        };
        let outcome = self.request(chain, &mut data, stopping);
        let (written, code) = match &outcome {
            Ok(()) => (data.written(), Status::OK),
            Err(error) => {
                if let Some(suppressed) = self.counters.log.allow() {
                    tracing::warn!(suppressed, "disk request failed: {error}");
                }
                (0, error.status())
            }
        };
        let told = status.write_obj(&code.0);
        match outcome.is_ok() && told.is_ok() {
            true => self.counters.done(written as u64),
            false => self.counters.failed(),
        }
        // After a failure nothing in front of the status counts; a used length is of bytes in sequence.
        match told {
            Ok(()) if outcome.is_ok() => u32::try_from(written.saturating_add(1)).unwrap_or(u32::MAX),
            _ => 0,
        }
    }

    fn request(
        &mut self,
        chain: &Chain,
        data: &mut Writer<'_>,
        stopping: &dyn Fn() -> bool,
    ) -> Result<(), RequestError> {
        let header: Header = chain.reader(self.queue.queue.memory()).read_obj()?;
        match Kind(u32::from_le(header.kind)) {
            Kind::IN => self.read(u64::from_le(header.sector), data, stopping),
            Kind::OUT => ReadOnlySnafu.fail(),
            Kind::GET_ID => {
                let id = ID.get(..data.remaining().min(ID_SIZE)).unwrap_or_default();
                Ok(data.write_all(id)?)
            }
            Kind(kind) => UnsupportedSnafu { kind }.fail(),
        }
    }

    fn read(
        &mut self,
        sector: u64,
        data: &mut Writer<'_>,
        stopping: &dyn Fn() -> bool,
    ) -> Result<(), RequestError> {
        let len = data.remaining() as u64;
        let at = self.disk.locate(sector, len);
        let mut at = at.ok_or(RequestError::Range { sector, len })?;
        while data.remaining() > 0 {
            if stopping() {
                return StoppedSnafu.fail();
            }
            let Some(piece) = self.buffer.get_mut(..data.remaining().min(CHUNK)) else { break };
            self.disk.read(at, piece)?;
            data.write_all(piece)?;
            at = at.saturating_add(piece.len() as u64);
        }
        Ok(())
    }
}

impl Handler for BlkHandler {
    fn start(&mut self, ctx: &mut Ctx) -> io::Result<()> {
        ctx.add_kick(&self.queue.kick, KICK)?;
        // Requests from before the doorbell was watched.
        ctx.again(KICK);
        Ok(())
    }

    fn event(&mut self, _token: Token, _ready: Ready, ctx: &mut Ctx) {
        if self.broken {
            return;
        }
        match self.serve(&|| ctx.stopping()) {
            Ok(true) => ctx.again(KICK),
            Ok(false) => {}
            Err(e) => {
                if let Some(suppressed) = self.counters.log.allow() {
                    tracing::warn!(suppressed, "block device needs a reset: {e}");
                }
                self.broken = true;
                self.failure.needs_reset();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::virtio::Features;
    use crate::virtio::testing::Harness;

    /// The driver of a large disk asks for much, and resets the device.
    #[test]
    fn a_device_that_is_to_stop_ends_within_a_piece_of_a_request() {
        let image = tempfile::NamedTempFile::new().unwrap();
        let pieces = 4;
        image.as_file().set_len((pieces * CHUNK) as u64).unwrap();
        let mut machine = Harness::new(&[16], Features::empty());
        let mut activation = machine.activation();
        let queue = activation.take_queue(0).unwrap();
        let disk = Disk::open_read_only(image.path()).unwrap();
        let mut handler = BlkHandler::new(queue, activation.failure, disk, Arc::default());

        let driver = &mut machine.drivers[0];
        let header = driver.readable(&[0; 16]);
        let all = driver.writable((pieces * CHUNK + 1) as u32);
        (0..3).for_each(|_| _ = driver.add(&[header, all]));
        driver.publish();

        // It looks before each request and before each piece. The second request gets two pieces.
        let looks = Cell::new(0);
        let stopping = || looks.replace(looks.get() + 1) >= 1 + pieces + 1 + 2;
        assert!(!handler.serve(&stopping).unwrap());
        let done: Vec<_> =
            std::iter::from_fn(|| machine.drivers[0].completed().unwrap()).map(|c| c.len as usize).collect();
        assert_eq!(done, [pieces * CHUNK + 1, 0], "one whole, one cut short, one not begun");
    }
}
