//! From the guest.

use super::super::spec::Header;
use super::{Host, Rings};
use crate::virtio::queue::{Chain, QueueError};
use crate::virtio::worker::Ctx;

/// Packets taken before others get their turn.
const BATCH: usize = 64;

impl Rings {
    /// Takes a batch of packets; true if there are more.
    ///
    /// Whether the guest has buffers for what this makes us owe does not matter: what is owed is flags.
    pub(super) fn serve_tx(&mut self, host: &mut Host, ctx: &mut Ctx) -> Result<bool, QueueError> {
        for _ in 0..BATCH {
            let Some(chain) = self.tx.queue.pop()? else {
                self.tx.notify_driver()?;
                return self.tx.queue.enable_notifications();
            };
            self.packet(&chain, host, ctx);
            self.tx.queue.push_used(chain.head(), 0)?;
        }
        self.tx.notify_driver()?;
        Ok(true)
    }

    /// The header and the data may be cut into descriptors in any way.
    fn packet(&self, chain: &Chain, host: &mut Host, ctx: &mut Ctx) {
        let mut reader = chain.reader(&self.mem);
        match reader.read_obj::<Header>() {
            Ok(header) => host.packet(&header, reader, &self.mem, ctx),
            // Too short for a header, or its page turned private just now.
            Err(_) => host.counters.tx_bad_chains.one(),
        }
    }
}
