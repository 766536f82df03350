//! The queues, while the driver is there.

use std::io;
use std::sync::atomic::Ordering;

use cloister_coco::memory::SharedMemory;

use super::super::spec::{EVENT_QUEUE, Event, RX_QUEUE, TX_QUEUE};
use super::{EVENT, Host, RX, TX};
use crate::virtio::queue::QueueError;
use crate::virtio::worker::Ctx;
use crate::virtio::{ActivateError, Activation, ActiveQueue, Failure};

/// The three queues.
#[derive(Debug)]
pub(in super::super) struct Rings {
    pub(super) mem: SharedMemory,
    pub(super) rx: ActiveQueue,
    pub(super) tx: ActiveQueue,
    /// A driver can do without events.
    event: Option<ActiveQueue>,
    failure: Failure,
    /// Something is owed to the guest and it has posted no buffer: it is asked to ring when it does.
    pub(super) starved: bool,
}

impl Rings {
    /// What the transport gave.
    pub(in super::super) fn take(mut activation: Activation) -> Result<Self, ActivateError> {
        let mut rx = activation.take_queue(RX_QUEUE)?;
        // New buffers are of interest only when there was none for a packet.
        let refused = |source| ActivateError::Queue { index: RX_QUEUE, source };
        rx.queue.disable_notifications().map_err(refused)?;
        let tx = activation.take_queue(TX_QUEUE)?;
        let event = activation.take_queue(EVENT_QUEUE).ok();
        let (mem, failure) = (activation.mem, activation.failure);
        Ok(Rings { mem, rx, tx, event, failure, starved: false })
    }

    pub(super) fn register(&self, ctx: &mut Ctx) -> io::Result<()> {
        ctx.add_kick(&self.rx.kick, RX)?;
        ctx.add_kick(&self.tx.kick, TX)?;
        match &self.event {
            Some(event) => ctx.add_kick(&event.kick, EVENT),
            None => Ok(()),
        }
    }

    /// Tells the guest that its connections are gone, after a restore, once it has a buffer for it
    /// (virtio 1.3 §5.10.6.7).
    pub(super) fn serve_events(&mut self, host: &mut Host) -> Result<bool, QueueError> {
        let Some(event) = &mut self.event else { return Ok(false) };
        while host.restored.load(Ordering::Acquire) {
            let Some(chain) = event.queue.pop()? else { return event.queue.enable_notifications() };
            let len = match chain.writer(&self.mem).write_obj(&Event::TRANSPORT_RESET) {
                Ok(()) => {
                    host.restored.store(false, Ordering::Release);
                    size_of::<Event>() as u32
                }
                Err(_) => 0,
            };
            event.queue.push_used(chain.head(), len)?;
            event.notify_driver()?;
        }
        Ok(false)
    }

    /// A queue cannot be believed any more.
    pub(super) fn failed(self) {
        self.failure.needs_reset();
    }
}
