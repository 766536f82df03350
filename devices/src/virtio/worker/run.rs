//! The worker's thread: its loop, its start and its end.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};

use super::ctx::{Ctx, Ready, STOP, Token};
use crate::virtio::Doorbell;

/// What a worker runs: the state of an active device. None of these may block.
pub trait Handler: Send + 'static {
    /// Registers kicks and files. Called once, on the thread that starts the worker, so that an error
    /// becomes an error of activation.
    fn start(&mut self, ctx: &mut Ctx) -> io::Result<()>;

    /// A source became ready, or a doorbell rang.
    fn event(&mut self, token: Token, ready: Ready, ctx: &mut Ctx);

    /// A deadline has come.
    fn timer(&mut self, key: u64, ctx: &mut Ctx) {
        let _ = (key, ctx);
    }
}

/// A running worker. Dropped, it stops like by [`Worker::stop`] and its state is dropped too.
#[derive(Debug)]
pub struct Worker<H> {
    stop: Doorbell,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<H>>,
}

impl<H: Handler> Worker<H> {
    /// Starts a thread called `name` that runs `handler`.
    pub fn start(name: &str, mut handler: H) -> io::Result<Worker<H>> {
        let poll = Poll::new()?;
        let stop = Doorbell::new()?;
        let registry = poll.registry().try_clone()?;
        registry.register(&mut SourceFd(&stop.as_raw_fd()), STOP, Interest::READABLE)?;
        let stopping = Arc::new(AtomicBool::new(false));
        let mut ctx = Ctx::new(registry, Arc::clone(&stopping));
        handler.start(&mut ctx)?;
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || run(poll, ctx, handler))?;
        Ok(Worker { stop, stopping, thread: Some(thread) })
    }

    /// Stops the worker and gives its state back; `None` if it panicked.
    ///
    /// When this returns, the thread is gone. The caller must hold no lock that the handler takes.
    pub fn stop(mut self) -> Option<H> {
        self.join()
    }
}

impl<H> Worker<H> {
    fn join(&mut self) -> Option<H> {
        let thread = self.thread.take()?;
        self.stopping.store(true, Ordering::Release);
        self.stop.ring();
        thread.join().ok()
    }
}

impl<H> Drop for Worker<H> {
    fn drop(&mut self) {
        drop(self.join());
    }
}

fn run<H: Handler>(mut poll: Poll, mut ctx: Ctx, mut handler: H) -> H {
    let mut events = Events::with_capacity(64);
    while !ctx.stopping() {
        let wait = if ctx.wants_again() { Some(Duration::ZERO) } else { ctx.timers.wait(Instant::now()) };
        if let Err(e) = poll.poll(&mut events, wait) {
            if e.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            // epoll_wait fails otherwise only if its file were not one.
            tracing::error!("worker cannot wait for events: {e}");
            break;
        }
        // Those asked for before these events came, so that a busy one cannot starve the rest.
        let again = ctx.take_again();
        for event in &events {
            let token = event.token();
            if token == STOP || ctx.stopping() {
                break;
            }
            let ready = if ctx.drain(token) { Ready::KICK } else { Ready::of(event) };
            handler.event(token, ready, &mut ctx);
        }
        for token in again {
            if ctx.stopping() {
                break;
            }
            handler.event(token, Ready::AGAIN, &mut ctx);
        }
        let now = Instant::now();
        // At most those that are set now: a timer that sets itself again waits for its turn.
        for _ in 0..ctx.timers.len() {
            let due = if ctx.stopping() { None } else { ctx.timers.take_due(now) };
            let Some(key) = due else { break };
            handler.timer(key, &mut ctx);
        }
    }
    handler
}
