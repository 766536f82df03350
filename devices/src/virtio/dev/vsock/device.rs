//! The device as its transport sees it.

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use snafu::ResultExt;
use zerocopy::IntoBytes;

use super::config::{StartSnafu, VsockConfig, VsockError};
use super::connections::Kinds;
use super::counters::Counters;
use super::muxer::Listener;
use super::spec::{Config, FEATURE_NO_IMPLIED_STREAM, FEATURE_SEQPACKET, FEATURE_STREAM, SocketType};
use super::worker::{Rings, VsockHandler};
use crate::limit::LogLimit;
use crate::virtio::worker::Worker;
use crate::virtio::{ActivateError, Activation, DeviceType, Features, VirtioDevice, read_config};

/// rx, tx, event. Linux keeps the rx queue full of pages.
const QUEUE_SIZES: [u16; 3] = [256, 256, 16];

/// A socket device whose other ends are Unix sockets on the host.
///
/// Host clients are served from the start, whether the guest's driver is there or not.
#[derive(Debug)]
pub struct Vsock {
    config: VsockConfig,
    listeners: Arc<[Listener]>,
    counters: Arc<Counters>,
    restored: Arc<AtomicBool>,
    worker: Option<Worker<VsockHandler>>,
    log: LogLimit,
}

impl Vsock {
    /// A device that creates its socket at the configured path, where nothing may be yet, and removes it
    /// at its end.
    pub fn new(config: VsockConfig) -> Result<Self, VsockError> {
        config.check()?;
        let mut listeners = vec![Listener::bind(&config.path, SocketType::STREAM)?];
        if config.seqpacket {
            listeners.push(Listener::bind(&config.seqpacket_path(), SocketType::SEQPACKET)?);
        }
        Vsock::start(config, listeners)
    }

    /// A device for a stream socket that somebody else bound to the configured path, and will remove.
    /// There is none for messages then; the guest can still connect to those of the host's.
    pub fn with_listener(config: VsockConfig, socket: UnixListener) -> Result<Self, VsockError> {
        config.check()?;
        let listener = Listener::bound(socket, &config.path)?;
        Vsock::start(config, vec![listener])
    }

    fn start(config: VsockConfig, listeners: Vec<Listener>) -> Result<Self, VsockError> {
        let mut device = Vsock {
            config,
            listeners: listeners.into(),
            counters: Arc::default(),
            restored: Arc::default(),
            worker: None,
            log: LogLimit::default(),
        };
        let handler = device.handler();
        device.worker = Some(Worker::start(&device.worker_name(), handler).context(StartSnafu)?);
        Ok(device)
    }

    /// Its counters.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The guest was restored from a snapshot: when the device is activated next, the guest is told that
    /// its connections are gone.
    pub fn restored(&self) {
        self.restored.store(true, Ordering::Release);
    }

    /// Says whose it is in a list of threads (of which 15 bytes are kept).
    fn worker_name(&self) -> String {
        format!("vsock-{}", self.config.cid)
    }

    /// Shows a test the worker's state, between two workers.
    #[cfg(test)]
    pub(super) fn inspect<R>(&mut self, look: impl FnOnce(&mut VsockHandler) -> R) -> R {
        let mut handler = self.stop();
        let seen = look(&mut handler);
        self.worker = Worker::start(&self.worker_name(), handler).ok();
        seen
    }

    fn handler(&self) -> VsockHandler {
        VsockHandler::new(
            self.config.clone(),
            Arc::clone(&self.listeners),
            Arc::clone(&self.counters),
            Arc::clone(&self.restored),
        )
    }

    /// Stops the worker and gets its state, or a fresh one if it is lost.
    fn stop(&mut self) -> VsockHandler {
        let stopped = self.worker.take().and_then(Worker::stop);
        stopped.unwrap_or_else(|| self.handler())
    }
}

impl VirtioDevice for Vsock {
    fn device_type(&self) -> DeviceType {
        DeviceType::VSOCK
    }

    fn features(&self) -> Features {
        match self.config.seqpacket {
            true => FEATURE_STREAM | FEATURE_SEQPACKET | FEATURE_NO_IMPLIED_STREAM,
            false => FEATURE_STREAM,
        }
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn config_read(&self, offset: u64, data: &mut [u8]) {
        let config = Config { guest_cid: self.config.cid.into() };
        read_config(config.as_bytes(), offset, data);
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let kinds = Kinds::negotiated(activation.features & self.features());
        let rings = Rings::take(activation)?;
        let mut handler = self.stop();
        handler.activate(rings, kinds);
        match Worker::start(&self.worker_name(), handler) {
            Ok(worker) => {
                self.worker = Some(worker);
                Ok(())
            }
            Err(e) => {
                self.reset();
                Err(e.into())
            }
        }
    }

    fn reset(&mut self) {
        let mut handler = self.stop();
        handler.deactivate();
        match Worker::start(&self.worker_name(), handler) {
            Ok(worker) => self.worker = Some(worker),
            // Clients wait in the listener's queue for the next activation.
            Err(e) => {
                if let Some(suppressed) = self.log.allow() {
                    tracing::warn!(
                        suppressed,
                        "vsock: host clients are not answered while the guest is down: {e}"
                    );
                }
            }
        }
    }
}
