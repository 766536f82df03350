use std::io;
use std::time::Duration;

use proptest::prelude::*;

use super::super::test_utils::{Edges, read};
use super::*;

#[derive(Clone, Default)]
struct Sink {
    bytes: Arc<Mutex<Vec<u8>>>,
    broken: bool,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.bytes.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn port(sink: &Sink) -> (Serial, SerialInput, Arc<Edges>) {
    let edges = Edges::new();
    let (serial, input) = Serial::new(Box::new(sink.clone()), edges.clone());
    (serial, input, edges)
}

#[test]
fn output_reaches_the_host() {
    let sink = Sink::default();
    let (mut serial, _, _) = port(&sink);
    b"hello".iter().for_each(|byte| serial.write(0, &[*byte]));
    assert_eq!(*sink.bytes.lock().unwrap(), b"hello");
    assert_eq!(serial.counters().written.load(Ordering::Relaxed), 5);
    assert_eq!(serial.counters().lost.load(Ordering::Relaxed), 0);
    assert_ne!(read(&mut serial, 5) & 0x20, 0, "ready for more");
}

#[test]
fn a_host_that_takes_nothing_is_counted_and_not_felt() {
    let (mut serial, _, _) = port(&Sink { broken: true, ..Sink::default() });
    serial.write(0, b"x");
    assert_eq!(serial.counters().lost.load(Ordering::Relaxed), 1);
    assert_ne!(read(&mut serial, 5) & 0x20, 0);
}

#[test]
fn divisor_and_loopback_are_no_output() {
    let sink = Sink::default();
    let (mut serial, _, _) = port(&sink);
    serial.write(3, &[0x83]);
    serial.write(0, &[1]);
    serial.write(3, &[0x03]);
    serial.write(4, &[0x10]);
    serial.write(0, &[2]);
    assert_eq!(read(&mut serial, 0), 2);
    assert!(sink.bytes.lock().unwrap().is_empty());
    assert_eq!(serial.counters().written.load(Ordering::Relaxed), 0);
}

#[test]
fn input_longer_than_the_fifo_arrives_whole_with_interrupts() {
    let (mut serial, input, edges) = port(&Sink::default());
    serial.write(1, &[1]);
    let text: Vec<u8> = (0..200).collect();
    assert_eq!(input.offer(&text), 200);
    let mut got = Vec::new();
    while read(&mut serial, 5) & 1 != 0 {
        got.push(read(&mut serial, 0));
    }
    assert_eq!(got, text);
    assert!(edges.count() >= 1);
}

#[test]
fn a_full_queue_pushes_back_until_the_guest_reads() {
    let (mut serial, input, _) = port(&Sink::default());
    assert_eq!(input.offer(&vec![1; 20_000]), 16 << 10);
    assert_eq!(input.offer(&vec![1; 20_000]), 64, "the FIFO took that many");
    assert_eq!(input.offer(b"x"), 0);
    assert!(!input.wait_for_room(Duration::from_millis(1)));
    let waiter = std::thread::spawn({
        let input = input.clone();
        move || input.wait_for_room(Duration::from_secs(20))
    });
    read(&mut serial, 0);
    assert!(waiter.join().unwrap());
    assert_eq!(input.offer(b"xy"), 1);
}

/// A guest that does not read is reset: its VM must not live on for a keyboard that waits for it.
#[test]
fn nobody_waits_for_a_port_that_is_gone() {
    let (serial, input, line) = port(&Sink::default());
    (0..2).for_each(|_| _ = input.offer(&[1; 20_000]));
    assert!(!input.wait_for_room(Duration::from_millis(1)));
    let waiter = std::thread::spawn(move || {
        let woken = input.wait_for_room(Duration::from_secs(20));
        (woken, input.offer(&[1; 20_000]))
    });
    drop(serial);
    assert_eq!(waiter.join().unwrap(), (true, 20_000));
    assert_eq!(Arc::strong_count(&line), 1, "the interrupt is held by us alone");
}

#[test]
fn input_waits_while_the_guest_is_in_loopback() {
    let (mut serial, input, _) = port(&Sink::default());
    serial.write(4, &[0x10]);
    assert_eq!(input.offer(b"a"), 1);
    assert_eq!(read(&mut serial, 5) & 1, 0);
    serial.write(4, &[0]);
    assert_eq!(read(&mut serial, 0), b'a');
}

proptest! {
    #[test]
    fn any_access_is_survived_and_input_stays_bounded(accesses: Vec<(u64, Vec<u8>, u8)>) {
        let (mut serial, input, _) = port(&Sink::default());
        for (offset, mut data, what) in accesses {
            let offset = if what & 0x80 != 0 { offset } else { offset % 9 };
            match what % 3 {
                0 => serial.write(offset, &data),
                1 => serial.read(offset, &mut data),
                _ => prop_assert!(input.offer(&data) <= data.len()),
            }
        }
    }
}
