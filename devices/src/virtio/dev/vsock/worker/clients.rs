//! Host clients, from the listener to a connection.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::super::connections::{NoConnection, after};
use super::super::muxer::hybrid::{Connect, Refusal};
use super::super::muxer::{ClientId, Heard, Listener, refuse};
use super::super::spec::SocketType;
use super::host::{client_token, connection_token};
use super::{Host, LISTENER, both_ways};
use crate::virtio::worker::{Ctx, Ready};

/// Clients accepted before others get their turn.
const ACCEPT_BATCH: usize = 64;
/// How long to wait when the host has no file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Host {
    /// Lets clients in.
    pub(super) fn accept(&mut self, ctx: &mut Ctx) {
        self.accept_again = None;
        for listener in &*Arc::clone(&self.listeners) {
            self.accept_from(listener, ctx);
        }
    }

    fn accept_from(&mut self, listener: &Listener, ctx: &mut Ctx) {
        for _ in 0..ACCEPT_BATCH {
            match listener.accept() {
                Ok(fd) => self.admit(fd, listener.kind(), ctx),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(_) => {
                    // No file descriptors or no memory: the client waits in the listener's queue.
                    self.counters.accept_failures.one();
                    self.accept_again = after(Instant::now(), ACCEPT_PAUSE);
                    return;
                }
            }
        }
        ctx.again(LISTENER);
    }

    fn admit(&mut self, fd: OwnedFd, kind: SocketType, ctx: &mut Ctx) {
        if self.table.len().saturating_add(self.lobby.len()) >= self.config.max_connections {
            self.counters.over_limit.one();
            return refuse(&fd, Refusal::Limit);
        }
        let raw = fd.as_raw_fd();
        let id = self.lobby.admit(fd, kind, after(Instant::now(), self.config.timeouts.line));
        if ctx.register(&raw, client_token(id), both_ways()).is_err() {
            self.counters.host_errors.one();
            self.lobby.remove(id);
        }
    }

    /// Connects the clients who waited for the driver, if it is there.
    pub(super) fn start_held(&mut self, ctx: &mut Ctx) {
        if self.driver {
            for (id, connect, deadline) in self.lobby.held() {
                // Who said how long to wait waits no longer than that in all.
                let deadline = deadline.filter(|_| connect.wait.is_some()).or_else(|| self.response_by());
                self.connect_client(id, connect, deadline, ctx);
            }
        }
    }

    fn response_by(&self) -> Option<Instant> {
        after(Instant::now(), self.config.timeouts.response)
    }

    pub(super) fn client_event(&mut self, id: ClientId, ready: Ready, ctx: &mut Ctx) {
        let heard = self.lobby.hear(id);
        if let Heard::Bad(why) = heard {
            self.counters.bad_lines.one();
            if let Some((fd, _)) = self.lobby.remove(id) {
                dismiss(fd, why, ctx);
            }
        } else if ready.contains(Ready::WRITE_CLOSED) {
            // It is gone, and cannot be answered.
            if let Some((fd, _)) = self.lobby.remove(id) {
                let _ = ctx.deregister(&fd);
            }
        } else if let Heard::Line(connect) = heard {
            let asked = connect.wait.and_then(|wait| after(Instant::now(), wait));
            if self.driver {
                self.connect_client(id, connect, asked.or_else(|| self.response_by()), ctx);
            } else {
                let patience = || after(Instant::now(), self.config.timeouts.driver);
                self.lobby.hold(id, connect, asked.or_else(patience));
            }
        }
    }

    /// Asks the guest for a connection.
    fn connect_client(&mut self, id: ClientId, connect: Connect, deadline: Option<Instant>, ctx: &mut Ctx) {
        let Some((fd, kind)) = self.lobby.remove(id) else { return };
        match self.table.host_request(connect.port, kind, self.lobby.len(), deadline) {
            Err(NoConnection::Full) => dismiss(fd, Refusal::Limit, ctx),
            Err(NoConnection::Kind) => dismiss(fd, Refusal::Refused, ctx),
            Ok(instance) => {
                let watched = ctx.reregister(&fd, connection_token(instance), both_ways());
                self.keep(instance, fd, kind, true);
                if watched.is_err() {
                    self.table.host_failed(instance, &mut self.actions);
                }
            }
        }
    }
}

/// Answers a client that gets no connection, and closes its socket.
pub(super) fn dismiss(fd: OwnedFd, why: Refusal, ctx: &Ctx) {
    refuse(&fd, why);
    let _ = ctx.deregister(&fd); // Closing it does the same.
}
