//! A device, its guest and its host.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use zerocopy::{FromBytes, IntoBytes};

use super::super::spec::*;
use super::super::{Counters, Timeouts, Vsock, VsockConfig};
use crate::virtio::queue::testing::Buffer;
use crate::virtio::testing::{Harness, TIMEOUT};
use crate::virtio::{Features, VirtioDevice};

pub(super) const RX: usize = 0;
pub(super) const TX: usize = 1;
pub(super) const EVENT: usize = 2;
/// What the guest says that it has room for.
pub(super) const GUEST_BUFFER: u32 = 256 << 10;
/// What the device says that it has room for.
pub(super) const OUR_BUFFER: u32 = 256 << 10;

/// Every guest its own address: it is in the name of its worker's thread.
static NEXT_CID: AtomicU64 = AtomicU64::new(1000);

pub(super) struct Rig {
    pub(super) device: Vsock,
    pub(super) h: Harness,
    pub(super) cid: u64,
    pub(super) path: PathBuf,
    /// The kind of socket that the guest's packets are about.
    pub(super) kind: SocketType,
    buffers: HashMap<u16, Vec<Buffer>>,
    /// A buffer is posted for each that comes back.
    refill: bool,
    _dir: tempfile::TempDir,
}

/// A packet that the guest got.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Packet {
    pub(super) header: Header,
    pub(super) data: Vec<u8>,
}

impl Packet {
    pub(super) fn op(&self) -> Operation {
        self.header.op
    }
    pub(super) fn guest_port(&self) -> u32 {
        self.header.dst_port.get()
    }
    pub(super) fn host_port(&self) -> u32 {
        self.header.src_port.get()
    }
    pub(super) fn fwd_cnt(&self) -> u32 {
        self.header.fwd_cnt.get()
    }
}

impl Rig {
    /// A device whose driver is not there yet.
    pub(super) fn asleep(change: impl FnOnce(&mut VsockConfig)) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v");
        let cid = NEXT_CID.fetch_add(1, Ordering::Relaxed);
        let mut config = VsockConfig::new(cid, &path);
        // Long: a test that needs one to pass sets it.
        let long = Duration::from_secs(60);
        config.timeouts = Timeouts { line: long, driver: long, response: long, close: long };
        change(&mut config);
        let device = Vsock::new(config).unwrap();
        let h = Harness::new(&[256, 256, 16], Features::empty());
        Rig {
            device,
            h,
            cid,
            path,
            kind: SocketType::STREAM,
            buffers: HashMap::new(),
            refill: false,
            _dir: dir,
        }
    }

    /// An active device; the guest has posted no buffers.
    pub(super) fn starved(change: impl FnOnce(&mut VsockConfig)) -> Rig {
        let mut rig = Rig::asleep(change);
        rig.activate();
        rig
    }

    /// An active device and a guest that always has buffers.
    pub(super) fn new() -> Rig {
        Rig::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut VsockConfig)) -> Rig {
        let mut rig = Rig::asleep(change);
        rig.activate_and_refill();
        rig
    }

    pub(super) fn activate_and_refill(&mut self) {
        self.activate();
        self.post(100, 4096);
        self.refill = true;
    }

    pub(super) fn activate(&mut self) {
        self.device.activate(self.h.activation()).unwrap();
    }

    /// As a driver does it: reset, fresh rings, activate.
    pub(super) fn reactivate(&mut self) {
        self.device.reset();
        self.buffers.clear();
        for i in 0..3 {
            self.h.renew(i);
        }
        self.activate();
    }

    pub(super) fn counters(&self) -> &Counters {
        self.device.counters()
    }

    /// Posts `n` buffers of `len` bytes for packets to the guest.
    pub(super) fn post(&mut self, n: usize, len: u32) {
        for _ in 0..n {
            self.add_rx(&[len]);
        }
        self.h.kick(RX);
    }

    /// Posts one buffer cut into descriptors.
    pub(super) fn post_cut(&mut self, lens: &[u32]) {
        self.add_rx(lens);
        self.h.kick(RX);
    }

    fn add_rx(&mut self, lens: &[u32]) {
        let driver = &mut self.h.drivers[RX];
        let buffers: Vec<_> = lens.iter().map(|&len| driver.writable(len)).collect();
        let head = driver.add(&buffers);
        self.buffers.insert(head, buffers);
    }

    pub(super) fn header(&self, guest: u32, host: u32, op: Operation) -> Header {
        Header {
            src_cid: self.cid.into(),
            dst_cid: HOST_CID.into(),
            src_port: guest.into(),
            dst_port: host.into(),
            len: 0.into(),
            socket_type: self.kind,
            op,
            flags: 0.into(),
            buf_alloc: GUEST_BUFFER.into(),
            fwd_cnt: 0.into(),
        }
    }

    /// Sends bytes cut into descriptors, and waits until the device has taken them.
    pub(super) fn send_pieces(&mut self, pieces: &[&[u8]]) {
        let driver = &mut self.h.drivers[TX];
        let buffers: Vec<_> = pieces.iter().map(|p| driver.readable(p)).collect();
        let head = driver.add(&buffers);
        self.h.kick(TX);
        let done = self.h.completion(TX, TIMEOUT).expect("the device takes no packets");
        assert_eq!((done.head, done.len), (head, 0));
    }

    pub(super) fn send_header(&mut self, header: Header) {
        self.send_pieces(&[header.as_bytes()]);
    }

    pub(super) fn send(&mut self, guest: u32, host: u32, op: Operation) {
        self.send_header(self.header(guest, host, op));
    }

    pub(super) fn send_data(&mut self, guest: u32, host: u32, data: &[u8]) {
        let header = self.data_header(guest, host, data);
        self.send_pieces(&[header.as_bytes(), data]);
    }

    pub(super) fn data_header(&self, guest: u32, host: u32, data: &[u8]) -> Header {
        Header { len: (data.len() as u32).into(), ..self.header(guest, host, Operation::RW) }
    }

    pub(super) fn shutdown(&mut self, guest: u32, host: u32, flags: Shutdown) {
        let header = self.header(guest, host, Operation::SHUTDOWN);
        self.send_header(Header { flags: flags.bits().into(), ..header });
    }

    /// The guest passed on `fwd_cnt` bytes by now, and has room for `buf_alloc`.
    pub(super) fn credit(&mut self, guest: u32, host: u32, buf_alloc: u32, fwd_cnt: u32) {
        let header = self.header(guest, host, Operation::CREDIT_UPDATE);
        self.send_header(Header { buf_alloc: buf_alloc.into(), fwd_cnt: fwd_cnt.into(), ..header });
    }

    /// The next packet to the guest, if it comes in time.
    pub(super) fn recv_within(&mut self, timeout: Duration) -> Option<Packet> {
        let done = self.h.completion(RX, timeout)?;
        let buffers = self.buffers.remove(&done.head).expect("a buffer that was posted");
        let bytes: Vec<u8> = buffers.iter().flat_map(|b| self.h.drivers[RX].bytes(*b)).collect();
        let bytes = &bytes[..done.len as usize];
        if self.refill {
            self.post(1, 4096);
        }
        let (header, data) = Header::read_from_prefix(bytes).expect("a packet has a header");
        assert_eq!(header.len.get() as usize, data.len(), "the header tells the truth");
        assert_eq!((header.src_cid.get(), header.dst_cid.get()), (HOST_CID, self.cid));
        Some(Packet { header, data: data.to_vec() })
    }

    /// The next packet to the guest.
    pub(super) fn recv(&mut self) -> Packet {
        self.recv_within(TIMEOUT).expect("a packet for the guest")
    }

    /// The next packet to the guest, which is of kind `op`.
    pub(super) fn expect(&mut self, op: Operation) -> Packet {
        let packet = self.recv();
        assert_eq!(packet.op(), op, "{packet:?}");
        packet
    }

    /// Shutdowns up to `flags`: what is known of the host's end may come in one packet or in two.
    pub(super) fn expect_shutdown(&mut self, flags: Shutdown) {
        let mut said = Shutdown::empty();
        while said != flags {
            let more = Shutdown::from_bits(self.expect(Operation::SHUTDOWN).header.flags.get()).unwrap();
            assert!(more.contains(said) && flags.contains(more) && more != said, "{more:?} after {said:?}");
            said = more;
        }
    }

    /// Everything that the device had to say before now has been received: the next packet is the answer
    /// to a packet that we send now.
    pub(super) fn expect_silence(&mut self) {
        self.send(0xdead, 0xbeef, Operation::RW);
        let packet = self.expect(Operation::RST);
        assert_eq!((packet.guest_port(), packet.host_port()), (0xdead, 0xbeef));
    }

    /// The same, but for what the device may say of credit at any time.
    pub(super) fn expect_silence_but_credit(&mut self) {
        self.send(0xdead, 0xbeef, Operation::RW);
        let packet = self.recv_but_credit();
        assert_eq!((packet.op(), packet.guest_port()), (Operation::RST, 0xdead));
    }

    /// The next packet that is not about credit.
    pub(super) fn recv_but_credit(&mut self) -> Packet {
        loop {
            let packet = self.recv();
            if ![Operation::CREDIT_REQUEST, Operation::CREDIT_UPDATE].contains(&packet.op()) {
                return packet;
            }
        }
    }

    /// The next data, whatever is said of credit before it.
    pub(super) fn expect_data(&mut self) -> Vec<u8> {
        let packet = self.recv_but_credit();
        assert_eq!(packet.op(), Operation::RW, "{packet:?}");
        packet.data
    }

    pub(super) fn listen(&self, port: u32) -> UnixListener {
        UnixListener::bind(format!("{}_{port}", self.path.display())).unwrap()
    }

    /// The guest connects to the host: both ends.
    pub(super) fn guest_connects(&mut self, guest: u32, host: u32) -> UnixStream {
        let listener = self.listen(host);
        let stream = self.guest_connects_to(&listener, guest, host);
        std::fs::remove_file(format!("{}_{host}", self.path.display())).unwrap();
        stream
    }

    pub(super) fn guest_connects_to(&mut self, listener: &UnixListener, guest: u32, host: u32) -> UnixStream {
        self.send(guest, host, Operation::REQUEST);
        let response = self.expect(Operation::RESPONSE);
        assert_eq!((response.guest_port(), response.host_port()), (guest, host));
        assert_eq!(response.header.buf_alloc.get(), OUR_BUFFER);
        accept(listener)
    }

    pub(super) fn client(&self) -> UnixStream {
        timely(UnixStream::connect(&self.path).unwrap())
    }

    /// The host connects to the guest: the host's end, and the port of the host's.
    pub(super) fn host_connects(&mut self, port: u32) -> (UnixStream, u32) {
        let mut client = self.client();
        client.write_all(format!("CONNECT {port}\n").as_bytes()).unwrap();
        let request = self.expect(Operation::REQUEST);
        assert_eq!(request.guest_port(), port);
        let host = request.host_port();
        self.send(port, host, Operation::RESPONSE);
        assert_eq!(line(&mut client), format!("OK {host}\n"));
        (client, host)
    }

    /// CPU time that the device's worker has used.
    pub(super) fn worker_cpu(&self) -> Duration {
        let name = format!("vsock-{}\n", self.cid);
        for task in std::fs::read_dir("/proc/self/task").unwrap() {
            let task = task.unwrap().path();
            if std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm == name) {
                let stat = std::fs::read_to_string(task.join("schedstat")).unwrap();
                return Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap());
            }
        }
        panic!("no thread {name}");
    }

    /// Waits until the device has so many clients that are no connections yet.
    pub(super) fn wait_for_clients(&mut self, n: usize) {
        let deadline = Instant::now() + TIMEOUT;
        while self.device.inspect(|h| h.clients()) != n {
            assert!(Instant::now() < deadline, "in vain: {n} clients");
        }
    }

    /// Waits until `condition` holds.
    pub(super) fn wait(&self, what: &str, mut condition: impl FnMut(&Counters) -> bool) {
        let counters = self.counters();
        assert!(self.h.signals.wait(TIMEOUT, |_| condition(counters)), "in vain: {what}");
    }
}

pub(super) fn timely(stream: UnixStream) -> UnixStream {
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.set_write_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// Accepts, in time.
pub(super) fn accept(listener: &UnixListener) -> UnixStream {
    listener.set_nonblocking(true).unwrap();
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                return timely(stream);
            }
            Err(e) => assert!(Instant::now() < deadline, "nobody connects: {e}"),
        }
        poll_in(listener);
    }
}

fn poll_in(fd: &impl std::os::fd::AsFd) {
    let mut fds = [rustix::event::PollFd::new(fd, rustix::event::PollFlags::IN)];
    let wait = rustix::event::Timespec { tv_sec: 1, tv_nsec: 0 };
    rustix::event::poll(&mut fds, Some(&wait)).unwrap();
}

/// One line, and not a byte more.
pub(super) fn line(stream: &mut UnixStream) -> String {
    let mut line = String::new();
    let mut one = [0];
    while !line.ends_with('\n') {
        match stream.read(&mut one).expect("an answer in time") {
            0 => break,
            _ => line.push(one[0].into()),
        }
    }
    line
}

/// Everything up to the end.
pub(super) fn rest(stream: UnixStream) -> String {
    let mut all = String::new();
    let mut reader = BufReader::new(stream);
    while reader.read_line(&mut all).expect("the end in time") > 0 {}
    all
}

pub(super) fn read_exactly(stream: &mut UnixStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).expect("all bytes in time");
    bytes
}

/// Bytes no two stretches of which are alike.
pub(super) fn noise(len: usize) -> Vec<u8> {
    let mut x: u32 = 0x2545_f491;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        (x >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}
