//! Serving over sockets: time-outs, bounds, and an end at any moment.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::dance::frame;
use super::*;
use crate::agent::{AgentError, Transport, TransportError, attest};
use crate::protocol::{ErrorClass, Frame, FrameType, ProtocolError};
use crate::testing::launch::{broker, config, guest};
use crate::testing::policy;

struct Wire(UnixStream);

impl Transport for Wire {
    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.0.write_all(bytes).map_err(|e| TransportError::Failed(e.raw_os_error().unwrap_or(0)))
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, TransportError> {
        match self.0.read(buffer) {
            Ok(0) => Err(TransportError::Closed),
            Ok(count) => Ok(count),
            Err(e) => Err(TransportError::Failed(e.raw_os_error().unwrap_or(0))),
        }
    }
}

fn listen(broker: &Broker) -> (tempfile::TempDir, BrokerHandle, Arc<Mutex<Vec<BrokerEvent>>>) {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join("vm.vsock_4226")).unwrap();
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&events);
    let handle = broker.listen(listener, move |event| sink.lock().unwrap().push(event)).unwrap();
    (directory, handle, events)
}

fn connect(directory: &tempfile::TempDir) -> UnixStream {
    UnixStream::connect(directory.path().join("vm.vsock_4226")).unwrap()
}

fn answer(stream: &mut UnixStream) -> Frame {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    frame(&bytes)
}

#[test]
fn secrets_go_over_a_socket() {
    let broker = broker();
    let (directory, handle, events) = listen(&broker);
    let mut steps = 0;
    let mut wire = Wire(connect(&directory));
    let secrets =
        attest(&mut wire, &mut guest(&broker), &["disk-key"], os_random, &mut |_| steps += 1).unwrap();
    assert_eq!(secrets[0].bytes.as_slice(), b"open sesame");
    assert_eq!(steps, 5);
    drop(wire);
    handle.stop();
    let events = events.lock().unwrap();
    assert!(matches!(events.last(), Some(BrokerEvent::Confirmed { .. })), "{events:#?}");
}

#[test]
fn a_guest_of_another_launch_says_goodbye() {
    let ours = broker();
    let (directory, handle, events) = listen(&ours);
    let mut wire = Wire(connect(&directory));
    let error = attest(&mut wire, &mut guest(&broker()), &["disk-key"], os_random, &mut |_| ()).unwrap_err();
    assert_eq!(error, AgentError::HostDataMismatch);
    handle.stop();
    let events = events.lock().unwrap();
    assert_eq!(events.last(), Some(&BrokerEvent::Refused(Refusal::Guest(ErrorClass::DENIED))));
}

fn with_limits(change: impl FnOnce(&mut Limits)) -> Broker {
    let mut config = config(policy());
    change(&mut config.limits);
    Broker::new(config)
}

#[test]
fn silence_and_slowness_end_a_connection() {
    let broker = with_limits(|limits| {
        limits.idle = Duration::from_millis(50);
        limits.total = Duration::from_millis(300);
    });
    let stop = Stop::new().unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let outcome = broker.serve_connection(ours, &stop, &|_| ());
    assert_eq!(outcome.refusal, Some(Refusal::Idle));
    assert_eq!(answer(&mut theirs).kind(), FrameType::ERROR);

    // A byte now and then keeps the line busy, but not for longer than the whole may take.
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let drip = std::thread::spawn(move || {
        for byte in crate::protocol::frame::MAGIC.iter().chain(&[1, 1, 0, 0, 200, 0, 0, 0]).cycle() {
            if theirs.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let start = Instant::now();
    let outcome = broker.serve_connection(ours, &stop, &|_| ());
    assert_eq!(outcome.refusal, Some(Refusal::TooSlow));
    assert!(start.elapsed() < Duration::from_secs(2));
    drip.join().unwrap();
}

#[test]
fn a_closed_connection_ends_its_session_only() {
    let broker = broker();
    let (directory, handle, events) = listen(&broker);
    drop(connect(&directory));
    let mut garbage = connect(&directory);
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(answer(&mut garbage).kind(), FrameType::ERROR);
    let mut wire = Wire(connect(&directory));
    attest(&mut wire, &mut guest(&broker), &["disk-key"], os_random, &mut |_| ()).unwrap();
    handle.stop();
    let events = events.lock().unwrap();
    let refused = |refusal: Refusal| events.contains(&BrokerEvent::Refused(refusal));
    assert!(refused(Refusal::Closed) && refused(Refusal::Protocol(ProtocolError::BadMagic)), "{events:#?}");
}

#[test]
fn attempts_and_connections_are_bounded() {
    let broker = with_limits(|limits| {
        limits.connections = 2;
        limits.burst = 3;
    });
    let (directory, handle, events) = listen(&broker);
    let held = [connect(&directory), connect(&directory)];
    let mut third = connect(&directory);
    assert_eq!(answer(&mut third).kind(), FrameType::ERROR);
    drop(held);
    // Two connections were admitted; a third attempt is left, a fourth is not.
    let wait = Instant::now() + Duration::from_secs(5);
    while events
        .lock()
        .unwrap()
        .iter()
        .filter(|e| **e == BrokerEvent::Refused(Refusal::Closed))
        .nth(1)
        .is_none()
    {
        assert!(Instant::now() < wait);
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(50));
    drop(connect(&directory));
    let mut fourth = connect(&directory);
    let last = answer(&mut fourth);
    assert_eq!(last.kind(), FrameType::ERROR);
    handle.stop();
    let events = events.lock().unwrap();
    assert!(events.contains(&BrokerEvent::Refused(Refusal::TooManyConnections)), "{events:#?}");
    assert!(events.contains(&BrokerEvent::Refused(Refusal::TooManyAttempts)), "{events:#?}");
}

#[test]
fn stopping_ends_open_connections() {
    let broker = broker();
    let (directory, handle, events) = listen(&broker);
    let mut open = connect(&directory);
    std::thread::sleep(Duration::from_millis(50));
    let start = Instant::now();
    handle.stop();
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(answer(&mut open).kind(), FrameType::ERROR);
    assert!(events.lock().unwrap().contains(&BrokerEvent::Refused(Refusal::Stopped)));
}
