//! The host's side: clients, sockets, and the connection table between them and the guest.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use cloister_coco::memory::SharedMemory;

use super::super::config::VsockConfig;
use super::super::connections::{Action, Ended, Instance, Kinds, Limits, Table, after};
use super::super::counters::Counters;
use super::super::muxer::hybrid::Refusal;
use super::super::muxer::{Attempt, ClientId, HostSocket, Listener, Lobby, Outgoing, Sent};
use super::super::spec::{Header, Message, SocketType};
use super::clients::dismiss;
use super::{DEADLINE, FIRST_SOCKET, LISTENER, SEQPACKET_LISTENER, both_ways};
use crate::virtio::queue::Reader;
use crate::virtio::worker::{Ctx, Interest, Ready, Token};

/// What is advertised to the guest, and held for the host under back pressure.
const BUFFER: u32 = 256 << 10;
/// How long to wait when the queue of the host's listener is full.
const CONNECT_PAUSE: Duration = Duration::from_millis(20);

/// Everything but the queues.
#[derive(Debug)]
pub(in super::super) struct Host {
    pub(super) config: VsockConfig,
    pub(super) listeners: Arc<[Listener]>,
    pub(super) counters: Arc<Counters>,
    /// The guest is to be told that it was restored.
    pub(super) restored: Arc<AtomicBool>,
    pub(super) table: Table,
    pub(super) sockets: HashMap<Instance, HostSocket>,
    /// Connections of the guest's whose listener has a full queue.
    outgoing: HashMap<Instance, Outgoing>,
    pub(super) lobby: Lobby,
    pub(super) actions: Vec<Action>,
    pub(super) driver: bool,
    pub(super) accept_again: Option<Instant>,
    connect_again: Option<Instant>,
}

impl Host {
    pub(super) fn new(
        config: VsockConfig,
        listeners: Arc<[Listener]>,
        counters: Arc<Counters>,
        restored: Arc<AtomicBool>,
    ) -> Self {
        let limits = Limits {
            connections: config.max_connections,
            buffer: BUFFER,
            response: config.timeouts.response,
            close: config.timeouts.close,
        };
        Host {
            table: Table::new(config.cid, limits, Arc::clone(&counters)),
            config,
            listeners,
            counters,
            restored,
            sockets: HashMap::new(),
            outgoing: HashMap::new(),
            lobby: Lobby::new(),
            actions: Vec::new(),
            driver: false,
            accept_again: None,
            connect_again: None,
        }
    }

    /// The driver is there.
    pub(super) fn start(&mut self, kinds: Kinds) {
        self.table.restart(kinds);
        self.driver = true;
    }

    /// The driver is gone, and its connections with it.
    pub(super) fn stop(&mut self) {
        self.driver = false;
        self.table.restart(Kinds::STREAM);
        for (_, socket) in self.sockets.drain() {
            if socket.unanswered() {
                socket.refuse(Refusal::Reset);
            }
        }
        self.outgoing.clear();
        self.actions.clear();
        self.connect_again = None;
    }

    /// Whether there is no connection and no socket of one.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.table.is_empty() && self.sockets.is_empty() && self.outgoing.is_empty()
    }

    /// Clients that are no connections yet.
    #[cfg(test)]
    pub(super) fn clients(&self) -> usize {
        self.lobby.len()
    }

    /// Watches the listener and every socket from before: for a worker that begins.
    pub(super) fn register(&self, ctx: &mut Ctx) -> io::Result<()> {
        for (listener, token) in self.listeners.iter().zip([LISTENER, SEQPACKET_LISTENER]) {
            ctx.register(listener, token, Interest::READABLE)?;
        }
        for (id, fd) in self.lobby.sockets() {
            ctx.register(fd, client_token(id), both_ways())?;
        }
        for (instance, socket) in &self.sockets {
            ctx.register(socket, connection_token(*instance), both_ways())?;
        }
        Ok(())
    }

    /// One timer for the earliest of all deadlines.
    pub(super) fn set_timer(&self, ctx: &mut Ctx) {
        let deadlines =
            [self.table.next_deadline(), self.lobby.next_deadline(), self.accept_again, self.connect_again];
        match deadlines.into_iter().flatten().min() {
            Some(at) => ctx.set_timer(DEADLINE, at),
            None => {
                ctx.cancel_timer(DEADLINE);
            }
        }
    }

    /// A deadline has passed.
    pub(super) fn expire(&mut self, ctx: &mut Ctx) {
        let now = Instant::now();
        while let Some((fd, why)) = self.lobby.expire(now) {
            self.counters.timeouts.one();
            dismiss(fd, why, ctx);
        }
        self.table.expire(now, &mut self.actions);
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept(ctx);
        }
        if self.connect_again.is_some_and(|at| at <= now) {
            self.connect_again = None;
            for (instance, outgoing) in std::mem::take(&mut self.outgoing) {
                self.attempt(instance, outgoing, ctx);
            }
        }
    }

    /// Something happened at a socket. It may be one that is closed by now.
    pub(super) fn socket_event(&mut self, token: Token, ready: Ready, ctx: &mut Ctx) {
        let Some(n) = token.0.checked_sub(FIRST_SOCKET) else { return };
        let id = (n / 2) as u64;
        if n.is_multiple_of(2) {
            self.client_event(ClientId(id), ready, ctx);
        } else {
            self.connection_event(Instance(id), ready);
        }
    }

    /// Keeps a connection's socket. False if the host lacks what it takes.
    pub(super) fn keep(
        &mut self,
        instance: Instance,
        fd: OwnedFd,
        kind: SocketType,
        unanswered: bool,
    ) -> bool {
        match HostSocket::new(fd, kind, BUFFER, unanswered) {
            Ok(socket) => {
                self.sockets.insert(instance, socket);
                true
            }
            Err(_) => {
                self.table.host_failed(instance, &mut self.actions);
                false
            }
        }
    }

    fn connection_event(&mut self, instance: Instance, ready: Ready) {
        let Some(socket) = self.sockets.get_mut(&instance) else { return };
        let hung_up = ready.contains(Ready::WRITE_CLOSED);
        if socket.unanswered() {
            if hung_up {
                self.table.client_gone(instance, &mut self.actions);
            }
            return;
        }
        let sent = if hung_up { Sent::HungUp } else { socket.flush() };
        self.sent(instance, sent);
        if ready.intersects(Ready::READABLE | Ready::READ_CLOSED | Ready::ERROR) {
            self.table.set_readable(instance, true);
        }
    }

    /// Tells the table what became of bytes for the host.
    fn sent(&mut self, instance: Instance, sent: Sent) {
        match sent {
            Sent::Took(n) => {
                // Never more than was waiting, which is within 32 bits.
                let n = u32::try_from(n).unwrap_or(u32::MAX);
                self.table.forwarded(instance, n, &mut self.actions);
            }
            Sent::HungUp => {
                if let Some(socket) = self.sockets.get_mut(&instance) {
                    socket.discard();
                }
                self.table.host_hung_up(instance, &mut self.actions);
            }
            Sent::Lost => self.table.unreadable(instance, &mut self.actions),
        }
    }

    /// A packet from the guest; `data` is what follows its header.
    pub(super) fn packet(
        &mut self,
        header: &Header,
        mut data: Reader<'_>,
        mem: &SharedMemory,
        ctx: &mut Ctx,
    ) {
        self.counters.tx_packets.one();
        self.table.packet(header, self.lobby.len(), Instant::now(), &mut self.actions);
        for action in std::mem::take(&mut self.actions) {
            match action {
                Action::Deliver { instance, len, flags } => {
                    self.deliver(instance, len, flags, &mut data, mem)
                }
                other => self.one(other, ctx),
            }
        }
        self.act(ctx);
    }

    fn deliver(
        &mut self,
        instance: Instance,
        len: u32,
        flags: Message,
        data: &mut Reader<'_>,
        mem: &SharedMemory,
    ) {
        let wanted = len as usize;
        let Some(socket) = self.sockets.get_mut(&instance).filter(|_| wanted <= data.remaining()) else {
            // The header promises more than there is.
            return self.table.unreadable(instance, &mut self.actions);
        };
        let sent = socket.send(data, wanted, flags, mem);
        self.counters.tx_bytes.add(len.into());
        if let Sent::Took(n) = sent {
            self.counters.tx_bounced_bytes.add(wanted.saturating_sub(n) as u64);
        }
        self.sent(instance, sent);
    }

    /// Does what the table asked for.
    pub(super) fn act(&mut self, ctx: &mut Ctx) {
        while !self.actions.is_empty() {
            for action in std::mem::take(&mut self.actions) {
                self.one(action, ctx);
            }
        }
    }

    fn one(&mut self, action: Action, ctx: &mut Ctx) {
        match action {
            Action::Connect { instance, port, socket_type } => {
                match Outgoing::new(&self.config.path, port, socket_type) {
                    Ok(outgoing) => self.attempt(instance, outgoing, ctx),
                    Err(_) => self.table.host_refused(instance, &mut self.actions),
                }
            }
            Action::Established { instance, host_port } => {
                let answered = self.sockets.get_mut(&instance).map(|s| s.accept(host_port));
                if !matches!(answered, Some(Ok(()))) {
                    self.table.host_failed(instance, &mut self.actions);
                }
            }
            // Only ever the answer to a packet, which is at hand there.
            Action::Deliver { instance, .. } => self.table.unreadable(instance, &mut self.actions),
            Action::ShutdownWrite { instance } => {
                if let Some(socket) = self.sockets.get(&instance) {
                    socket.shutdown_write();
                }
            }
            Action::ShutdownRead { instance } => {
                if let Some(socket) = self.sockets.get(&instance) {
                    socket.shutdown_read();
                }
            }
            Action::Close { instance, why } => {
                self.outgoing.remove(&instance);
                if let Some(socket) = self.sockets.remove(&instance) {
                    if socket.unanswered() {
                        socket.refuse(refusal(why));
                    }
                    let _ = ctx.deregister(&socket); // Closing it does the same.
                }
            }
        }
    }

    fn attempt(&mut self, instance: Instance, outgoing: Outgoing, ctx: &mut Ctx) {
        match outgoing.attempt() {
            Ok(Attempt::Connected(fd, kind)) => {
                if ctx.register(&fd, connection_token(instance), both_ways()).is_err() {
                    return self.table.host_failed(instance, &mut self.actions);
                }
                if self.keep(instance, fd, kind, false) {
                    self.table.host_connected(instance);
                }
            }
            Ok(Attempt::Later(outgoing)) => {
                self.outgoing.insert(instance, outgoing);
                if self.connect_again.is_none() {
                    self.connect_again = after(Instant::now(), CONNECT_PAUSE);
                }
            }
            Err(_) => self.table.host_refused(instance, &mut self.actions),
        }
    }
}

/// What a client is told when its connection ends before it began.
fn refusal(why: Ended) -> Refusal {
    match why {
        Ended::Timeout => Refusal::Timeout,
        Ended::Host => Refusal::Reset,
        Ended::Done | Ended::Reset | Ended::Protocol => Refusal::Refused,
    }
}

pub(super) fn client_token(id: ClientId) -> Token {
    socket_token(id.0, 0)
}

pub(super) fn connection_token(instance: Instance) -> Token {
    socket_token(instance.0, 1)
}

fn socket_token(n: u64, odd: usize) -> Token {
    let n = usize::try_from(n).unwrap_or(usize::MAX);
    Token(n.saturating_mul(2).saturating_add(FIRST_SOCKET).saturating_add(odd))
}
