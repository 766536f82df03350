//! A connection's queues and waits: polling, with a limit to every wait.

use cloister_attestation::agent::{Transport, TransportError};

use super::BOUNCE_PAGES;
use super::connection::Connection;
use super::packet::{HEADER_LEN, Header, Operation, SHUTDOWN_RECEIVE, SHUTDOWN_SEND};
use crate::error::HostError;
use crate::platform::{Bounce, Ports, Timer};
use crate::virtio::{Device, Doorbell, QUEUE_SIZE, Queue, feature};

const DEVICE_ID: u16 = 19;
const FEATURE_STREAM: u64 = 1 << 0;
const CONFIG_CID: u32 = 0;

const PAGE: usize = 4096;
const RX_RING: usize = 0;
const TX_RING: usize = PAGE;
const EVENT_RING: usize = 2 * PAGE;
const EVENT_BUFFERS: usize = EVENT_RING + 0xc00;
const RX_BUFFERS: usize = 3 * PAGE;
const TX_BUFFERS: usize = RX_BUFFERS + QUEUE_SIZE as usize * PAGE;
const TX_BUFFER_COUNT: u16 = 8;
const EVENT_COUNT: u16 = 2;
const EVENT_LEN: u32 = 4;
/// Data in one packet: what is left of a page.
const MAX_DATA: usize = PAGE - HEADER_LEN;
const _: () = assert!(TX_BUFFERS + TX_BUFFER_COUNT as usize * PAGE == BOUNCE_PAGES as usize * PAGE);

/// Seconds that the host has for all of its moves together: a host that does each of them just in time
/// would keep us for ever.
const PATIENCE: u32 = 60;
const CLOSE_PATIENCE: u32 = 3;

/// A stream to the host.
#[derive(Debug)]
pub struct Socket<P, B, T> {
    device: Device<P>,
    bounce: B,
    timer: T,
    rx: (Queue, Doorbell),
    tx: (Queue, Doorbell),
    events: (Queue, Doorbell),
    connection: Connection,
    failure: Option<HostError>,
}

impl<P: Ports, B: Bounce, T: Timer> Socket<P, B, T> {
    /// Brings the vsock device up with all its memory in `bounce` (shared by now), and prepares a
    /// connection from `local_port` to the host's `port`.
    pub fn open(
        ports: P,
        mut bounce: B,
        mut timer: T,
        local_port: u32,
        port: u32,
    ) -> Result<Self, HostError> {
        let wanted = FEATURE_STREAM | feature::ACCESS_PLATFORM;
        let mut device = Device::open(ports, DEVICE_ID, wanted, &mut timer)?;
        let mut rx = Queue::new(&mut bounce, RX_RING, RX_BUFFERS, PAGE as u32)?;
        let tx = Queue::new(&mut bounce, TX_RING, TX_BUFFERS, PAGE as u32)?;
        let mut events = Queue::new(&mut bounce, EVENT_RING, EVENT_BUFFERS, EVENT_LEN)?;
        let doorbells = [
            device.set_queue(0, &rx, &bounce)?,
            device.set_queue(1, &tx, &bounce)?,
            device.set_queue(2, &events, &bounce)?,
        ];
        let cid = device.config64(CONFIG_CID)?;
        (0..QUEUE_SIZE).try_for_each(|d| rx.give(&mut bounce, d, PAGE as u32, true))?;
        (0..EVENT_COUNT).try_for_each(|d| events.give(&mut bounce, d, EVENT_LEN, true))?;
        device.start();
        let [rx_bell, tx_bell, event_bell] = doorbells;
        device.notify(&rx_bell);
        device.notify(&event_bell);
        let connection = Connection::new(cid, local_port, port);
        let (rx, tx, events) = ((rx, rx_bell), (tx, tx_bell), (events, event_bell));
        Ok(Socket { device, bounce, timer, rx, tx, events, connection, failure: None })
    }

    /// The virtio features in use.
    pub fn features(&self) -> u64 {
        self.device.features()
    }

    /// Our context id, as the device says.
    pub fn context(&self) -> u64 {
        self.connection.cid()
    }

    /// Connects, and waits until the host accepted. The time for the whole conversation begins here.
    pub fn connect(&mut self) -> Result<(), HostError> {
        self.timer.restart(PATIENCE);
        self.send_packet(Operation::REQUEST, 0, &[])?;
        loop {
            self.poll()?;
            if self.connection.is_open()? {
                return Ok(());
            }
            self.wait("no answer to our connection request")?;
        }
    }

    /// Closes both ways, and waits a little for the host to agree. All that was sent arrives before.
    pub fn close(&mut self) -> Result<(), HostError> {
        self.timer.restart(CLOSE_PATIENCE);
        if !self.connection.has_ended() {
            self.send_packet(Operation::SHUTDOWN, SHUTDOWN_RECEIVE | SHUTDOWN_SEND, &[])?;
        }
        while !self.connection.has_ended() {
            self.poll()?;
            self.wait("the host does not end the connection")?;
        }
        self.device.stop();
        Ok(())
    }

    /// What went wrong, in more detail than a [`TransportError`] has.
    pub fn failure(&self) -> Option<HostError> {
        self.failure
    }

    fn send_all(&mut self, mut bytes: &[u8]) -> Result<(), HostError> {
        while !bytes.is_empty() {
            self.poll()?;
            let credit = usize::try_from(self.connection.credit()?).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(credit).min(MAX_DATA));
            if now.is_empty() {
                self.wait("the host takes no data")?;
                continue;
            }
            self.connection.on_sent(now.len() as u32);
            self.send_packet(Operation::DATA, 0, now)?;
            bytes = later;
        }
        Ok(())
    }

    fn receive_some(&mut self, to: &mut [u8]) -> Result<usize, HostError> {
        loop {
            self.poll()?;
            let count = self.connection.receive(to)?;
            self.pay()?;
            if count > 0 || to.is_empty() {
                return Ok(count);
            }
            self.wait("the host sends no data")?;
        }
    }

    /// Takes what came, not more than a queue full, and sends what is owed.
    fn poll(&mut self) -> Result<(), HostError> {
        let mut returned = false;
        for _ in 0..QUEUE_SIZE {
            let Some((descriptor, len)) = self.rx.0.take(&self.bounce)? else { break };
            self.on_buffer(descriptor, len)?;
            self.rx.0.give(&mut self.bounce, descriptor, PAGE as u32, true)?;
            returned = true;
        }
        if returned && self.rx.0.wants_notification(&self.bounce) {
            self.device.notify(&self.rx.1);
        }
        if self.events.0.take(&self.bounce)?.is_some() {
            return Err(HostError::TransportReset);
        }
        self.pay()
    }

    fn pay(&mut self) -> Result<(), HostError> {
        let owed = self.connection.take_owed();
        if owed.reset {
            self.send_packet(Operation::RESET, 0, &[])?;
            self.connection.end();
        } else if owed.credit {
            self.send_packet(Operation::CREDIT_UPDATE, 0, &[])?;
        }
        Ok(())
    }

    fn on_buffer(&mut self, descriptor: u16, len: u32) -> Result<(), HostError> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let mut page = [0; PAGE];
        let copy = page.get_mut(..len).ok_or(HostError::Ring("more bytes than the buffer has"))?;
        if !self.bounce.read(self.rx.0.buffer(descriptor), copy) {
            return Err(HostError::Bounce);
        }
        let Some((header, data)) = copy.split_first_chunk::<HEADER_LEN>() else {
            return Err(HostError::Packet("shorter than its header"));
        };
        let header = Header::parse(header);
        if u32::try_from(data.len()) != Ok(header.len) {
            return Err(HostError::Packet("its length is not that of its data"));
        }
        self.connection.on_packet(&header, data)
    }

    fn send_packet(&mut self, operation: Operation, flags: u32, data: &[u8]) -> Result<(), HostError> {
        let descriptor = loop {
            while self.tx.0.take(&self.bounce)?.is_some() {}
            match self.tx.0.free(TX_BUFFER_COUNT) {
                Some(descriptor) => break descriptor,
                None => self.wait("the device sends nothing")?,
            }
        };
        let header = self.connection.header(operation, flags, data.len() as u32);
        let buffer = self.tx.0.buffer(descriptor);
        let written = self.bounce.write(buffer, &header.to_bytes())
            && self.bounce.write(buffer.saturating_add(HEADER_LEN), data);
        if !written {
            return Err(HostError::Bounce);
        }
        let len = HEADER_LEN.saturating_add(data.len()) as u32;
        self.tx.0.give(&mut self.bounce, descriptor, len, false)?;
        if self.tx.0.wants_notification(&self.bounce) {
            self.device.notify(&self.tx.1);
        }
        Ok(())
    }

    fn wait(&mut self, what: &'static str) -> Result<(), HostError> {
        if self.timer.wait() { Ok(()) } else { Err(HostError::TimedOut(what)) }
    }

    fn report<R>(&mut self, result: Result<R, HostError>) -> Result<R, TransportError> {
        result.map_err(|error| {
            self.failure = Some(error);
            match error {
                HostError::Closed | HostError::Refused => TransportError::Closed,
                HostError::TimedOut(_) => TransportError::TimedOut,
                _ => TransportError::Failed(i32::from(error.exit_code().0)),
            }
        })
    }
}

impl<P: Ports, B: Bounce, T: Timer> Transport for Socket<P, B, T> {
    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        let sent = self.send_all(bytes);
        self.report(sent)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, TransportError> {
        let received = self.receive_some(buffer);
        self.report(received)
    }
}

#[cfg(test)]
#[path = "socket_test.rs"]
mod tests;
