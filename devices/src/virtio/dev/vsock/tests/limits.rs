//! How many, and what happens to the next one.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::super::spec::*;
use super::fixture::*;

#[test]
fn a_thousand_and_twenty_four_connections_and_then_one_more() {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).unwrap();
    let mut rig = Rig::new();
    let listener = rig.listen(52);
    let mut hosts: Vec<UnixStream> = Vec::new();
    for guest in 0..1024 {
        hosts.push(rig.guest_connects_to(&listener, guest, 52));
    }
    rig.send(1024, 52, Operation::REQUEST);
    assert_eq!(rig.expect(Operation::RST).guest_port(), 1024);
    assert_eq!(rest(rig.client()), "ERR limit\n");
    assert_eq!(rig.counters().over_limit.get(), 2);
    // All of them work.
    for (guest, host) in (0..1024).zip(&mut hosts) {
        rig.send_data(guest, 52, &guest.to_le_bytes());
        assert_eq!(read_exactly(host, 4), guest.to_le_bytes());
    }
    // One ends, another may come.
    rig.send(77, 52, Operation::RST);
    hosts.push(rig.guest_connects_to(&listener, 1024, 52));
    rig.send(78, 52, Operation::RST);
    let (_client, _) = rig.host_connects(5);
    assert_eq!(rest(rig.client()), "ERR limit\n");
}

#[test]
fn clients_that_say_nothing_count_and_time_out() {
    let rig = Rig::with(|c| {
        c.max_connections = 2;
        c.timeouts.line = Duration::from_millis(50);
    });
    let (one, two, three) = (rig.client(), rig.client(), rig.client());
    assert_eq!(rest(three), "ERR limit\n");
    assert_eq!(rest(one), "ERR no-line\n");
    assert_eq!(rest(two), "ERR no-line\n");
    assert_eq!(rest(rig.client()), "ERR no-line\n", "the slots are free again");
}

#[test]
fn a_guest_s_request_beside_silent_clients_is_refused() {
    let mut rig = Rig::with(|c| c.max_connections = 1);
    let _listener = rig.listen(52);
    let _client = rig.client();
    rig.wait_for_clients(1);
    rig.send(1, 52, Operation::REQUEST);
    rig.expect(Operation::RST);
}

/// Runs one test of this file in a process of its own, because it changes what a process has.
fn alone(test: &str) {
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--test-threads=1", "--nocapture"])
        .arg(format!("{}::{test}", module_path!().split_once("::").unwrap().1))
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.success() && output.contains("1 passed"), "{output}");
}

#[test]
fn without_file_descriptors_clients_wait() {
    alone("in_a_process_without_file_descriptors");
}

#[test]
#[ignore = "run by the test above, in a process of its own"]
fn in_a_process_without_file_descriptors() {
    let mut rig = Rig::new();
    let _listener = rig.listen(52);
    let mut pending: Vec<_> = (0..3)
        .map(|_| {
            use rustix::net::{AddressFamily, SocketType, socket};
            socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap()
        })
        .collect();
    let limit = getrlimit(Resource::Nofile);
    // Not one more than there are.
    let none = pending.iter().map(|fd| fd.as_raw_fd() as u64 + 1).max();
    setrlimit(Resource::Nofile, Rlimit { current: none, maximum: limit.maximum }).unwrap();
    for fd in &pending {
        let address = rustix::net::SocketAddrUnix::new(&rig.path).unwrap();
        rustix::net::connect(fd, &address).unwrap();
    }
    rig.wait("tries to accept", |c| c.accept_failures.get() >= 3);
    let failures = rig.counters().accept_failures.get();
    assert!(failures <= 10, "{failures} tries: the worker spins");
    // Guests are refused, and nothing else breaks.
    rig.send(1, 52, Operation::REQUEST);
    rig.expect(Operation::RST);
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut client = timely(UnixStream::from(pending.remove(0)));
    client.write_all(b"CONNECT 1\n").unwrap();
    assert_eq!(rig.expect(Operation::REQUEST).guest_port(), 1);
}

#[test]
fn memory_stays_bounded() {
    alone("in_a_process_whose_memory_is_measured");
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
#[ignore = "run by the test above, in a process of its own"]
fn in_a_process_whose_memory_is_measured() {
    let mut rig = Rig::starved(|_| {});
    rig.post(1, 4096);
    let _host = rig.guest_connects(1, 52);
    // A host that never reads.
    for piece in noise(OUR_BUFFER as usize).chunks(32 << 10) {
        rig.send_data(1, 52, piece);
    }
    rig.flood(0..1_000);
    let before = resident();
    // Bad packets for as many connections as there are names for, and not one buffer for the answers.
    rig.flood(1_000..61_000);
    let grown = resident().saturating_sub(before);
    assert!(grown < 2 << 20, "{grown} bytes more than before");
    assert!(rig.device.inspect(|h| h.held()) <= OUR_BUFFER as usize);
    assert!(rig.counters().resets_dropped.get() > 59_000);
    assert_eq!(rig.counters().no_connection.get(), 61_000);
}

impl Rig {
    /// Packets for connections that are not there, many at a time.
    fn flood(&mut self, guests: std::ops::Range<u32>) {
        let guests: Vec<_> = guests.collect();
        for some in guests.chunks(128) {
            for guest in some {
                let header = self.header(*guest, 9, Operation::RW);
                let packet = self.h.drivers[TX].readable(zerocopy::IntoBytes::as_bytes(&header));
                self.h.drivers[TX].add(&[packet]);
            }
            self.h.kick(TX);
            for _ in some {
                self.h
                    .completion(TX, crate::virtio::testing::TIMEOUT)
                    .expect("the device stopped taking packets");
            }
        }
    }
}
