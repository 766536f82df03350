//! Fills the driver's buffers.

use std::io;
use std::sync::Arc;

use rustix::rand::{GetRandomFlags, getrandom};

use super::counters::RngCounters;
use crate::virtio::queue::{Chain, QueueError};
use crate::virtio::worker::{Ctx, Handler, Ready, Token};
use crate::virtio::{ActiveQueue, Failure};

/// The most that one request gets; a device may write less than there is room for
/// (virtio 1.3 §5.4.6.1).
pub(super) const MAX_BYTES: usize = 64 << 10;
const CHUNK: usize = 4096;
/// Requests answered before others get their turn.
const BATCH: usize = 16;
const KICK: Token = Token(0);

/// The state of an active entropy device.
#[derive(Debug)]
pub(super) struct RngHandler {
    queue: ActiveQueue,
    failure: Failure,
    counters: Arc<RngCounters>,
    broken: bool,
}

impl RngHandler {
    pub(super) fn new(queue: ActiveQueue, failure: Failure, counters: Arc<RngCounters>) -> Self {
        RngHandler { queue, failure, counters, broken: false }
    }

    /// Answers a batch of requests; true if there are more.
    fn serve(&mut self) -> Result<bool, QueueError> {
        for _ in 0..BATCH {
            let Some(chain) = self.queue.queue.pop()? else {
                self.queue.notify_driver()?;
                return self.queue.queue.enable_notifications();
            };
            let len = self.fill(&chain);
            self.queue.queue.push_used(chain.head(), len)?;
        }
        self.queue.notify_driver()?;
        Ok(true)
    }

    /// Writes entropy into a request; how much.
    fn fill(&self, chain: &Chain) -> u32 {
        let mut writer = chain.writer(self.queue.queue.memory());
        let mut chunk = [0; CHUNK];
        while writer.remaining() > 0 && writer.written() < MAX_BYTES {
            let want = writer.remaining().min(CHUNK).min(MAX_BYTES.saturating_sub(writer.written()));
            let Some(chunk) = chunk.get_mut(..want) else { break };
            if let Err(e) =
                fill_random(chunk).and_then(|()| writer.write_all(chunk).map_err(io::Error::other))
            {
                if let Some(suppressed) = self.counters.log.allow() {
                    tracing::warn!(suppressed, "entropy request cut short: {e}");
                }
                break;
            }
        }
        match writer.written() {
            0 => self.counters.failed(),
            n => self.counters.answered(n as u64),
        }
        // At most MAX_BYTES.
        u32::try_from(writer.written()).unwrap_or(0)
    }
}

impl Handler for RngHandler {
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
        match self.serve() {
            Ok(true) => ctx.again(KICK),
            Ok(false) => {}
            Err(e) => {
                if let Some(suppressed) = self.counters.log.allow() {
                    tracing::warn!(suppressed, "entropy device needs a reset: {e}");
                }
                self.broken = true;
                self.failure.needs_reset();
            }
        }
    }
}

fn fill_random(mut buf: &mut [u8]) -> io::Result<()> {
    while !buf.is_empty() {
        let n = getrandom(&mut *buf, GetRandomFlags::empty())?;
        buf = buf.get_mut(n..).unwrap_or_default();
    }
    Ok(())
}
