//! Serving a VM's socket: a thread that accepts, and one for every connection, all of which stop.

use std::io::{self, ErrorKind};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};

use super::connection::turn_away;
use super::limiter::Limiter;
use super::{Broker, BrokerEvent, Refusal, Stop};

type Events = Arc<dyn Fn(BrokerEvent) + Send + Sync>;

/// A broker that is listening. Dropping it ends its threads and connections.
#[derive(Debug)]
pub struct BrokerHandle {
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl BrokerHandle {
    /// The switch, for whoever stops several things at once.
    pub fn stop_switch(&self) -> Stop {
        self.stop.clone()
    }

    /// Stops listening, ends the connections, and waits for the threads.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has told so already.
            let _ = thread.join();
        }
    }
}

impl Drop for BrokerHandle {
    fn drop(&mut self) {
        self.end();
    }
}

impl Broker {
    /// Serves every connection to `listener` from threads of its own.
    ///
    /// `events` is called from these threads; events of two connections may come mixed.
    pub fn listen(
        &self,
        listener: UnixListener,
        events: impl Fn(BrokerEvent) + Send + Sync + 'static,
    ) -> io::Result<BrokerHandle> {
        let stop = Stop::new()?;
        listener.set_nonblocking(true)?;
        let limits = self.config().limits;
        let acceptor = Acceptor {
            broker: self.clone(),
            listener,
            stop: stop.clone(),
            events: Arc::new(events),
            limiter: Limiter::new(limits.burst, limits.attempts_per_minute, Instant::now()),
            connections: Vec::new(),
            told: None,
        };
        let thread = thread::Builder::new().name("broker".into()).spawn(move || acceptor.run())?;
        Ok(BrokerHandle { stop, thread: Some(thread) })
    }
}

struct Acceptor {
    broker: Broker,
    listener: UnixListener,
    stop: Stop,
    events: Events,
    limiter: Limiter,
    connections: Vec<JoinHandle<()>>,
    /// The last refusal that was told: a guest that keeps knocking does not fill the log.
    told: Option<Refusal>,
}

impl Acceptor {
    fn run(mut self) {
        while self.wait() {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                // An error of one connection is that connection's; there is nothing to close here.
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                // Out of descriptors, most likely: do not spin on it.
                Err(_) => thread::sleep(std::time::Duration::from_millis(50)),
            }
        }
        for connection in self.connections.drain(..) {
            let _ = connection.join();
        }
    }

    /// Waits for a connection. No when the broker stops.
    fn wait(&self) -> bool {
        let mut fds = [PollFd::new(&self.listener, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
        let [_, stop] = &fds;
        stop.revents().is_empty()
    }

    fn admit(&mut self, stream: UnixStream) {
        self.connections.retain(|connection| !connection.is_finished());
        let refusal = if self.connections.len() >= self.broker.config().limits.connections {
            Some(Refusal::TooManyConnections)
        } else if !self.limiter.take(Instant::now()) {
            Some(Refusal::TooManyAttempts)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            turn_away(&self.broker, stream, &refusal);
            if self.told.as_ref() != Some(&refusal) {
                (self.events)(BrokerEvent::Refused(refusal.clone()));
                self.told = Some(refusal);
            }
            return;
        }
        self.told = None;
        let (broker, stop, events) = (self.broker.clone(), self.stop.clone(), Arc::clone(&self.events));
        let serve = move || {
            broker.serve_connection(stream, &stop, &*events);
        };
        // Without a thread the stream is dropped, and the guest tries again.
        if let Ok(thread) = thread::Builder::new().name("broker-conn".into()).spawn(serve) {
            self.connections.push(thread);
        }
    }
}
