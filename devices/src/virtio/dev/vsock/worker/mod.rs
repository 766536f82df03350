//! The worker: owns the queues while the driver is there, and the host's sockets always.
//!
//! It runs also while there is no driver, so that clients who come early are answered in time; the
//! handler goes from one thread to the next when the device is activated and reset.

mod clients;
mod host;
mod rings;
mod rx;
mod tx;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub(super) use host::Host;
pub(super) use rings::Rings;

use super::config::VsockConfig;
use super::connections::Kinds;
use super::counters::Counters;
use super::muxer::Listener;
use crate::limit::LogLimit;
use crate::virtio::queue::QueueError;
use crate::virtio::worker::{Ctx, Handler, Interest, Ready, Token};

const RX: Token = Token(0);
const TX: Token = Token(1);
const EVENT: Token = Token(2);
const LISTENER: Token = Token(3);
const SEQPACKET_LISTENER: Token = Token(4);
/// Tokens of sockets come after those of queues: even ones are clients', odd ones connections'.
const FIRST_SOCKET: usize = 16;
/// The only timer of the worker's: the earliest of all deadlines.
const DEADLINE: u64 = 0;

/// Everything that a worker owns.
#[derive(Debug)]
pub(super) struct VsockHandler {
    host: Host,
    rings: Option<Rings>,
    log: LogLimit,
}

impl VsockHandler {
    /// No clients, no driver.
    pub(super) fn new(
        config: VsockConfig,
        listeners: Arc<[Listener]>,
        counters: Arc<Counters>,
        restored: Arc<AtomicBool>,
    ) -> Self {
        VsockHandler {
            host: Host::new(config, listeners, counters, restored),
            rings: None,
            log: LogLimit::default(),
        }
    }

    /// The driver is there. To be called between two workers.
    pub(super) fn activate(&mut self, rings: Rings, kinds: Kinds) {
        self.host.start(kinds);
        self.rings = Some(rings);
    }

    /// The driver is gone: its connections end, clients that are none yet stay. To be called between two
    /// workers.
    pub(super) fn deactivate(&mut self) {
        self.rings = None;
        self.host.stop();
    }

    /// Whether sockets are open, or anything is kept for the guest.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.host.is_idle()
    }

    /// Clients that are no connections yet.
    #[cfg(test)]
    pub(super) fn clients(&self) -> usize {
        self.host.clients()
    }

    /// Bytes of memory held for hosts that do not read.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.host.sockets.values().map(super::muxer::HostSocket::held).sum()
    }

    /// Makes the credit counters of new connections begin at `count`.
    #[cfg(test)]
    pub(super) fn count_from(&mut self, count: u32) {
        self.host.table.count_from(count);
    }

    /// What a queue or socket made due: packets to the guest, interrupts, and the timer.
    fn settle(&mut self, ctx: &mut Ctx) {
        self.host.act(ctx);
        if let Some(rings) = &mut self.rings {
            match rings.serve_rx(&mut self.host, ctx) {
                Ok(true) => ctx.again(RX),
                Ok(false) => {}
                Err(e) => self.fail(&e),
            }
        }
        self.host.set_timer(ctx);
    }

    fn fail(&mut self, e: &QueueError) {
        if let Some(suppressed) = self.log.allow() {
            tracing::warn!(suppressed, "vsock device needs a reset: {e}");
        }
        if let Some(rings) = self.rings.take() {
            rings.failed();
        }
        self.host.stop();
    }
}

impl Handler for VsockHandler {
    fn start(&mut self, ctx: &mut Ctx) -> io::Result<()> {
        self.host.register(ctx)?;
        if let Some(rings) = &mut self.rings {
            rings.register(ctx)?;
            // Packets from before the doorbells were watched, and clients from before the driver came.
            ctx.again(TX);
            ctx.again(EVENT);
        }
        ctx.again(LISTENER);
        self.host.set_timer(ctx);
        Ok(())
    }

    fn event(&mut self, token: Token, ready: Ready, ctx: &mut Ctx) {
        match token {
            RX => {}
            TX | EVENT => {
                let served = match (&mut self.rings, token) {
                    (Some(rings), TX) => rings.serve_tx(&mut self.host, ctx),
                    (Some(rings), _) => rings.serve_events(&mut self.host),
                    (None, _) => Ok(false),
                };
                match served {
                    Ok(true) => ctx.again(token),
                    Ok(false) => {}
                    Err(e) => self.fail(&e),
                }
            }
            LISTENER | SEQPACKET_LISTENER => {
                self.host.accept(ctx);
                self.host.start_held(ctx);
            }
            socket => self.host.socket_event(socket, ready, ctx),
        }
        self.settle(ctx);
    }

    fn timer(&mut self, _key: u64, ctx: &mut Ctx) {
        self.host.expire(ctx);
        self.settle(ctx);
    }
}

/// What sockets of connections and clients are watched for: everything, from the start.
fn both_ways() -> Interest {
    Interest::READABLE | Interest::WRITABLE
}
