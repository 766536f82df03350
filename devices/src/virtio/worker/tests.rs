//! The worker: wakes, timers, and its end.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::*;
use crate::virtio::Doorbell;
use crate::virtio::testing::TIMEOUT;

const KICK: Token = Token(1);
const PEER: Token = Token(2);

#[derive(Debug, PartialEq)]
enum Heard {
    Event(Token, Ready),
    Timer(u64, Instant),
    Bytes(Vec<u8>),
}

/// Tells the test what it hears, and does what the test set it up to do.
struct Probe {
    tell: Sender<Heard>,
    kick: Option<Arc<Doorbell>>,
    peer: Option<UnixStream>,
    timers: Vec<(u64, Duration)>,
    again: usize,
    heard: usize,
}

impl Probe {
    fn new() -> (Probe, Receiver<Heard>) {
        let (tell, hear) = channel();
        (Probe { tell, kick: None, peer: None, timers: Vec::new(), again: 0, heard: 0 }, hear)
    }
}

impl Handler for Probe {
    fn start(&mut self, ctx: &mut Ctx) -> io::Result<()> {
        if let Some(kick) = &self.kick {
            ctx.add_kick(kick, KICK)?;
        }
        if let Some(peer) = &self.peer {
            ctx.register(peer, PEER, Interest::READABLE)?;
        }
        for (key, after) in &self.timers {
            ctx.set_timer(*key, Instant::now() + *after);
        }
        Ok(())
    }

    fn event(&mut self, token: Token, ready: Ready, ctx: &mut Ctx) {
        self.heard += 1;
        if token == PEER && ready.contains(Ready::READABLE) {
            // One byte at a time, then asking for the event anew: no byte may be lost.
            let mut byte = [0];
            if let Ok(1) = self.peer.as_mut().unwrap().read(&mut byte) {
                self.tell.send(Heard::Bytes(byte.to_vec())).unwrap();
                ctx.reregister(self.peer.as_ref().unwrap(), PEER, Interest::READABLE).unwrap();
            }
            return;
        }
        if self.again > 0 {
            self.again -= 1;
            ctx.again(token);
        }
        self.tell.send(Heard::Event(token, ready)).unwrap();
    }

    fn timer(&mut self, key: u64, _ctx: &mut Ctx) {
        self.tell.send(Heard::Timer(key, Instant::now())).unwrap();
    }
}

fn doorbell() -> Arc<Doorbell> {
    Arc::new(Doorbell::new().unwrap())
}

#[test]
fn every_kick_is_heard_one_from_before_the_start_too() {
    let (mut probe, hear) = Probe::new();
    let kick = doorbell();
    probe.kick = Some(Arc::clone(&kick));
    kick.ring();
    let worker = Worker::start("test", probe).unwrap();
    for _ in 0..100 {
        assert_eq!(hear.recv_timeout(TIMEOUT).unwrap(), Heard::Event(KICK, Ready::KICK));
        assert!(!kick.drain(), "the worker drained it");
        kick.ring();
    }
    let probe = worker.stop().unwrap();
    assert!(probe.heard >= 100);
}

#[test]
fn a_handler_may_take_its_work_in_small_pieces() {
    let (mut probe, hear) = Probe::new();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.write_all(b"edge-triggered").unwrap();
    probe.peer = Some(ours);
    let worker = Worker::start("test", probe).unwrap();
    let got: Vec<u8> = (0..14)
        .flat_map(|_| match hear.recv_timeout(TIMEOUT).unwrap() {
            Heard::Bytes(b) => b,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(got, b"edge-triggered");
    drop(worker);
}

#[test]
fn a_handler_is_called_again_when_it_asks() {
    let (mut probe, hear) = Probe::new();
    let kick = doorbell();
    probe.kick = Some(Arc::clone(&kick));
    probe.again = 2;
    let worker = Worker::start("test", probe).unwrap();
    kick.ring();
    let heard: Vec<_> = (0..3).map(|_| hear.recv_timeout(TIMEOUT).unwrap()).collect();
    let again = || Heard::Event(KICK, Ready::AGAIN);
    assert_eq!(heard, [Heard::Event(KICK, Ready::KICK), again(), again()]);
    let probe = worker.stop().unwrap();
    assert_eq!(probe.heard, 3, "and not more often");
}

#[test]
fn timers_fire_by_themselves_in_order_and_not_early() {
    let (mut probe, hear) = Probe::new();
    let ms = Duration::from_millis;
    probe.timers = vec![(1, ms(60)), (2, ms(20)), (3, ms(9_999_999)), (1, ms(40))];
    let began = Instant::now();
    let worker = Worker::start("test", probe).unwrap();
    let Heard::Timer(2, first) = hear.recv_timeout(TIMEOUT).unwrap() else { panic!() };
    let Heard::Timer(1, second) = hear.recv_timeout(TIMEOUT).unwrap() else { panic!() };
    assert!(first - began >= ms(20) && second - began >= ms(40));
    drop(worker);
    assert!(hear.recv_timeout(TIMEOUT).is_err(), "the state is gone with the worker");
}

#[test]
fn stopping_ends_a_busy_worker_and_gives_its_state_back() {
    let (mut probe, hear) = Probe::new();
    let kick = doorbell();
    kick.ring();
    probe.kick = Some(kick);
    probe.again = usize::MAX;
    let worker = Worker::start("test", probe).unwrap();
    hear.recv_timeout(TIMEOUT).unwrap();
    let probe = worker.stop().unwrap();
    assert!(probe.heard > 0);
}

#[test]
fn an_error_at_the_start_is_told_to_the_caller_and_a_panic_too() {
    struct Fails;
    impl Handler for Fails {
        fn start(&mut self, ctx: &mut Ctx) -> io::Result<()> {
            ctx.register(&-1, Token(usize::MAX), Interest::READABLE)
        }
        fn event(&mut self, _: Token, _: Ready, _: &mut Ctx) {}
    }
    assert!(Worker::start("test", Fails).is_err());
    struct Panics(Sender<()>);
    impl Handler for Panics {
        fn start(&mut self, ctx: &mut Ctx) -> io::Result<()> {
            ctx.again(KICK);
            Ok(())
        }
        fn event(&mut self, _: Token, _: Ready, _: &mut Ctx) {
            self.0.send(()).unwrap();
            panic!("on purpose");
        }
    }
    let (tell, hear) = channel();
    let worker = Worker::start("test", Panics(tell)).unwrap();
    hear.recv_timeout(TIMEOUT).unwrap();
    assert!(worker.stop().is_none());
}
