//! The state machine by hand: one packet or event at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::virtio::dev::vsock::counters::Counters;
use crate::virtio::dev::vsock::spec::{
    FEATURE_SEQPACKET, HOST_CID, Header, Message, Operation, Shutdown, SocketType,
};

pub(super) const CID: u64 = 42;
pub(super) const BUFFER: u32 = 256 << 10;

pub(super) fn limits(connections: usize) -> Limits {
    Limits { connections, buffer: BUFFER, response: Duration::from_secs(2), close: Duration::from_secs(2) }
}

pub(super) fn packet(guest: u32, host: u32, op: Operation) -> Header {
    Header {
        src_cid: CID.into(),
        dst_cid: HOST_CID.into(),
        src_port: guest.into(),
        dst_port: host.into(),
        len: 0.into(),
        socket_type: SocketType::STREAM,
        op,
        flags: 0.into(),
        buf_alloc: BUFFER.into(),
        fwd_cnt: 0.into(),
    }
}

struct Bench {
    table: Table,
    counters: Arc<Counters>,
    now: Instant,
}

impl Bench {
    fn new(connections: usize) -> Bench {
        let counters = Arc::new(Counters::default());
        let table = Table::new(CID, limits(connections), Arc::clone(&counters));
        Bench { table, counters, now: Instant::now() }
    }

    fn send(&mut self, header: Header) -> Vec<Action> {
        let mut out = Vec::new();
        self.table.packet(&header, 0, self.now, &mut out);
        self.table.check_invariants();
        out
    }

    fn op(&mut self, guest: u32, host: u32, op: Operation) -> Vec<Action> {
        self.send(packet(guest, host, op))
    }

    fn data(&mut self, guest: u32, host: u32, len: u32) -> Vec<Action> {
        self.send(Header { len: len.into(), ..packet(guest, host, Operation::RW) })
    }

    fn shutdown(&mut self, guest: u32, host: u32, flags: Shutdown) -> Vec<Action> {
        self.send(Header { flags: flags.bits().into(), ..packet(guest, host, Operation::SHUTDOWN) })
    }

    /// A connection from the guest that the host took, and whose RESPONSE is out.
    fn open(&mut self, guest: u32, host: u32) -> Instance {
        let instance = self.request(guest, host);
        self.table.host_connected(instance);
        assert_eq!(self.rx().op, Operation::RESPONSE);
        self.table.set_readable(instance, false);
        instance
    }

    fn request(&mut self, guest: u32, host: u32) -> Instance {
        match self.op(guest, host, Operation::REQUEST).last() {
            Some(Action::Connect { instance, port, .. }) if *port == host => *instance,
            other => panic!("no connect: {other:?}"),
        }
    }

    /// Takes one packet without data to the guest.
    fn rx(&mut self) -> Header {
        let turn = self.table.next_turn().expect("something is owed");
        let header = self.table.control_header(turn).expect("a packet without data");
        let mut out = Vec::new();
        self.table.control_sent(turn, self.now, &mut out);
        self.table.check_invariants();
        header
    }

    fn nothing_owed(&self) {
        assert_eq!(self.table.next_turn(), None);
    }

    fn expire_after(&mut self, wait: Duration) -> Vec<Action> {
        self.now += wait;
        let mut out = Vec::new();
        self.table.expire(self.now, &mut out);
        self.table.check_invariants();
        out
    }

    fn with<R>(&mut self, f: impl FnOnce(&mut Table, &mut Vec<Action>) -> R) -> Vec<Action> {
        let mut out = Vec::new();
        f(&mut self.table, &mut out);
        self.table.check_invariants();
        out
    }
}

#[test]
fn a_guest_connects_and_is_told_our_credit() {
    let mut b = Bench::new(8);
    let instance = b.request(1000, 5);
    b.nothing_owed();
    b.table.host_connected(instance);
    let response = b.rx();
    assert_eq!((response.op, response.socket_type), (Operation::RESPONSE, SocketType::STREAM));
    assert_eq!((response.src_cid.get(), response.dst_cid.get()), (HOST_CID, CID));
    assert_eq!((response.src_port.get(), response.dst_port.get()), (5, 1000));
    assert_eq!((response.buf_alloc.get(), response.fwd_cnt.get()), (BUFFER, 0));
    assert_eq!(b.table.next_turn(), Some(Turn::Data(instance, BUFFER)));
    b.table.set_readable(instance, false);
    b.nothing_owed();
}

#[test]
fn a_host_client_connects() {
    let mut b = Bench::new(8);
    let instance = b.table.host_request(1024, SocketType::STREAM, 0, None).unwrap();
    let request = b.rx();
    assert_eq!((request.op, request.dst_port.get()), (Operation::REQUEST, 1024));
    let host_port = request.src_port.get();
    assert_eq!(b.op(1024, host_port, Operation::RESPONSE), [Action::Established { instance, host_port }]);
    assert!(b.op(1024, host_port, Operation::RST).contains(&Action::Close { instance, why: Ended::Reset }));
    assert!(b.table.is_empty());
    b.nothing_owed();
}

#[test]
fn a_refusal_of_the_guests_reaches_the_client() {
    let mut b = Bench::new(8);
    let instance = b.table.host_request(1024, SocketType::STREAM, 0, None).unwrap();
    let host_port = b.rx().src_port.get();
    let close = Action::Close { instance, why: Ended::Reset };
    assert_eq!(b.op(1024, host_port, Operation::RST), [close]);
    assert_eq!(b.counters.guest_refused.get(), 1);
    b.nothing_owed();
}

#[test]
fn no_response_in_time_ends_the_request() {
    let mut b = Bench::new(8);
    let deadline = Some(b.now + Duration::from_secs(2));
    let instance = b.table.host_request(1024, SocketType::STREAM, 0, deadline).unwrap();
    b.rx();
    assert_eq!(b.table.next_deadline(), deadline);
    assert_eq!(b.expire_after(Duration::from_millis(1999)), []);
    let close = Action::Close { instance, why: Ended::Timeout };
    assert_eq!(b.expire_after(Duration::from_millis(1)), [close]);
    assert_eq!(b.rx().op, Operation::RST);
    assert!(b.table.is_empty());
    assert_eq!(b.table.next_deadline(), None);
}

#[test]
fn a_request_that_the_guest_never_saw_ends_without_a_word() {
    let mut b = Bench::new(8);
    let deadline = Some(b.now + Duration::from_secs(2));
    b.table.host_request(1024, SocketType::STREAM, 0, deadline).unwrap();
    b.expire_after(Duration::from_secs(2));
    assert!(b.table.is_empty());
    b.nothing_owed();
}

#[test]
fn shutdown_before_response_resets() {
    let mut b = Bench::new(8);
    let instance = b.table.host_request(1024, SocketType::STREAM, 0, None).unwrap();
    let host_port = b.rx().src_port.get();
    let out = b.shutdown(1024, host_port, Shutdown::all());
    assert_eq!(out, [Action::Close { instance, why: Ended::Protocol }]);
    assert_eq!(b.rx().op, Operation::RST);
    // And from the guest's side: a request, then a shutdown before it was answered.
    let instance = b.request(1, 2);
    let out = b.shutdown(1, 2, Shutdown::all());
    assert_eq!(out, [Action::Close { instance, why: Ended::Protocol }]);
    assert_eq!(b.rx().op, Operation::RST);
    assert!(b.table.is_empty());
    assert_eq!(b.counters.protocol_errors.get(), 2);
}

#[test]
fn a_request_where_an_rst_is_owed_gets_an_answer_and_no_rst() {
    let mut b = Bench::new(8);
    b.data(1, 2, 10);
    assert_eq!(b.table.next_turn(), Some(Turn::Stray));
    let instance = b.request(1, 2);
    b.nothing_owed();
    b.table.host_connected(instance);
    assert_eq!(b.rx().op, Operation::RESPONSE);
    // The same where the RST is owed for a connection that the table still holds.
    b.with(|t, out| t.host_failed(instance, out));
    let again = b.request(1, 2);
    assert_ne!(again, instance);
    b.table.host_connected(again);
    assert_eq!(b.rx().op, Operation::RESPONSE);
    assert_eq!(b.table.len(), 1);
}

#[test]
fn a_request_on_a_live_pair_resets_the_old_connection() {
    let mut b = Bench::new(8);
    let old = b.open(1, 2);
    let out = b.op(1, 2, Operation::REQUEST);
    assert_eq!(out[0], Action::Close { instance: old, why: Ended::Reset });
    assert!(matches!(out[1], Action::Connect { instance, port: 2, .. } if instance != old));
    // What happens to the old one's socket now is nobody's business.
    assert_eq!(b.with(|t, out| t.host_failed(old, out)), []);
    b.table.host_connected(old);
    b.nothing_owed();
    assert_eq!(b.table.len(), 1);
}

#[test]
fn an_rst_is_never_answered_with_an_rst() {
    let mut b = Bench::new(8);
    b.op(1, 2, Operation::RST);
    b.send(Header { socket_type: SocketType(9.into()), ..packet(1, 2, Operation::RST) });
    b.nothing_owed();
    b.open(1, 2);
    b.op(1, 2, Operation::RST);
    b.op(1, 2, Operation::RST);
    b.nothing_owed();
    assert!(b.table.is_empty());
}

#[test]
fn packets_for_nobody_get_an_rst_that_echoes_their_type_or_are_dropped() {
    let mut b = Bench::new(8);
    b.send(Header { src_cid: 43.into(), ..packet(1, 2, Operation::REQUEST) });
    b.send(Header { dst_cid: 3.into(), ..packet(1, 2, Operation::REQUEST) });
    b.nothing_owed();
    b.send(Header { socket_type: SocketType(7.into()), ..packet(1, 2, Operation::REQUEST) });
    let rst = b.rx();
    assert_eq!((rst.op, rst.socket_type.0.get()), (Operation::RST, 7));
    b.send(Header { socket_type: SocketType::SEQPACKET, ..packet(1, 2, Operation::REQUEST) });
    assert_eq!(b.rx().op, Operation::RST);
    b.op(1, 2, Operation::RESPONSE);
    let rst = b.rx();
    assert_eq!((rst.op, rst.src_port.get(), rst.dst_port.get()), (Operation::RST, 2, 1));
    b.open(1, 2);
    b.op(1, 2, Operation(99.into()));
    b.op(1, 2, Operation(0.into()));
    b.nothing_owed();
    assert_eq!(b.table.len(), 1, "an unknown operation leaves a connection alone");
    let c = &b.counters;
    assert_eq!((c.wrong_source.get(), c.wrong_destination.get()), (1, 1));
    assert_eq!((c.unknown_type.get(), c.unknown_operation.get(), c.no_connection.get()), (2, 2, 1));
}

#[test]
fn resets_owed_are_bounded_and_one_per_pair() {
    let mut b = Bench::new(8);
    for _ in 0..3 {
        for guest in 0..300 {
            b.data(guest, 2, 1);
        }
    }
    for _ in 0..256 {
        assert_eq!(b.rx().op, Operation::RST);
    }
    b.nothing_owed();
    assert_eq!(b.counters.resets_dropped.get(), 3 * 44);
}

#[test]
fn more_than_the_credit_ends_the_connection() {
    let mut b = Bench::new(8);
    let instance = b.open(1, 2);
    let flags = Message::empty();
    assert_eq!(b.data(1, 2, BUFFER), [Action::Deliver { instance, len: BUFFER, flags }]);
    assert_eq!(b.data(1, 2, 1), [Action::Close { instance, why: Ended::Protocol }]);
    assert_eq!(b.rx().op, Operation::RST);
    assert_eq!(b.counters.credit_violations.get(), 1);
    let instance = b.open(1, 2);
    assert_eq!(b.data(1, 2, u32::MAX), [Action::Close { instance, why: Ended::Protocol }]);
}

#[test]
fn credit_is_told_when_it_was_low_and_when_it_is_asked_for() {
    let mut b = Bench::new(8);
    let instance = b.open(1, 2);
    b.data(1, 2, 1000);
    b.with(|t, out| t.forwarded(instance, 1000, out));
    b.nothing_owed();
    b.op(1, 2, Operation::CREDIT_REQUEST);
    let update = b.rx();
    assert_eq!((update.op, update.fwd_cnt.get()), (Operation::CREDIT_UPDATE, 1000));
    b.nothing_owed();
    b.data(1, 2, BUFFER);
    b.with(|t, out| t.forwarded(instance, 1, out));
    let update = b.rx();
    assert_eq!((update.op, update.fwd_cnt.get()), (Operation::CREDIT_UPDATE, 1001));
    b.nothing_owed();
}

#[test]
fn a_guest_that_sends_no_more_needs_no_credit() {
    let mut b = Bench::new(8);
    let instance = b.open(1, 2);
    b.data(1, 2, BUFFER);
    b.shutdown(1, 2, Shutdown::SEND);
    b.with(|t, out| t.forwarded(instance, 100, out));
    b.nothing_owed();
}

#[test]
fn the_order_is_response_update_request_data() {
    let mut b = Bench::new(8);
    // A guest without any room, so that we have to ask.
    let request = Header { buf_alloc: 0.into(), ..packet(1, 2, Operation::REQUEST) };
    let Some(Action::Connect { instance, .. }) = b.send(request).pop() else { panic!("no connect") };
    b.table.host_connected(instance);
    assert_eq!(b.table.next_turn(), Some(Turn::Control(instance, Operation::RESPONSE)));
    b.rx();
    let ask = Header { buf_alloc: 0.into(), ..packet(1, 2, Operation::CREDIT_REQUEST) };
    b.send(ask);
    assert_eq!(b.rx().op, Operation::CREDIT_UPDATE);
    assert_eq!(b.rx().op, Operation::CREDIT_REQUEST);
    b.nothing_owed();
    b.op(1, 2, Operation::CREDIT_UPDATE);
    assert_eq!(b.table.next_turn(), Some(Turn::Data(instance, BUFFER)));
}

#[test]
fn data_stops_at_the_guests_credit_and_credit_is_asked_for_once_then_at_intervals() {
    let mut b = Bench::new(8);
    let instance = b.open(1, 2);
    b.table.set_readable(instance, true);
    b.table.data_sent(instance, BUFFER);
    assert_eq!(b.rx().op, Operation::CREDIT_REQUEST);
    b.nothing_owed();
    b.op(1, 2, Operation::CREDIT_UPDATE); // Still none.
    b.nothing_owed();
    b.expire_after(Duration::from_millis(100));
    assert_eq!(b.rx().op, Operation::CREDIT_REQUEST);
    b.expire_after(Duration::from_millis(199));
    b.nothing_owed();
    b.expire_after(Duration::from_millis(1));
    assert_eq!(b.rx().op, Operation::CREDIT_REQUEST);
    // Credit rides on every packet, data included.
    b.send(Header { fwd_cnt: 10.into(), len: 1.into(), ..packet(1, 2, Operation::RW) });
    assert_eq!(b.table.next_turn(), Some(Turn::Data(instance, 10)));
    assert_eq!(b.table.next_deadline(), None);
}

#[test]
fn the_guests_half_close_reaches_the_host_after_the_last_byte() {
    let mut b = Bench::new(8);
    let instance = b.open(1, 2);
    b.data(1, 2, 100);
    assert_eq!(b.shutdown(1, 2, Shutdown::SEND), []);
    assert_eq!(b.with(|t, out| t.forwarded(instance, 99, out)), []);
    let last = b.with(|t, out| t.forwarded(instance, 1, out));
    assert_eq!(last, [Action::ShutdownWrite { instance }]);
    assert_eq!(b.shutdown(1, 2, Shutdown::SEND), [], "once is enough");
    // The other direction goes on.
    b.table.set_readable(instance, true);
    assert_eq!(b.table.next_turn(), Some(Turn::Data(instance, BUFFER)));
    // Data after that is a lie.
    assert_eq!(b.data(1, 2, 1), [Action::Close { instance, why: Ended::Protocol }]);
}

#[test]
fn a_guest_that_reads_no_more_gets_no_more() {
    let mut b = Bench::new(8);
    let instance = b.open(1, 2);
    b.table.set_readable(instance, true);
    assert_eq!(b.shutdown(1, 2, Shutdown::RECEIVE), [Action::ShutdownRead { instance }]);
    b.nothing_owed();
    b.table.set_readable(instance, true);
    b.nothing_owed();
    let flags = Message::empty();
    assert_eq!(b.data(1, 2, 5), [Action::Deliver { instance, len: 5, flags }]);
}

#[test]
fn both_closed_by_the_guest_ends_when_flushed_or_in_time() {
    let mut b = Bench::new(8);
    let instance = b.open(1, 2);
    b.data(1, 2, 100);
    assert_eq!(b.shutdown(1, 2, Shutdown::all()), [Action::ShutdownRead { instance }]);
    b.nothing_owed();
    let flushed = b.with(|t, out| t.forwarded(instance, 100, out));
    assert_eq!(flushed, [Action::Close { instance, why: Ended::Done }]);
    assert_eq!(b.rx().op, Operation::RST);
    assert!(b.table.is_empty());

    let stuck = b.open(1, 2);
    b.data(1, 2, 100);
    b.shutdown(1, 2, Shutdown::SEND);
    b.shutdown(1, 2, Shutdown::RECEIVE);
    b.expire_after(Duration::from_millis(1900));
    // Saying it again does not put it off.
    b.shutdown(1, 2, Shutdown::all());
    let out = b.expire_after(Duration::from_millis(100));
    assert_eq!(out, [Action::Close { instance: stuck, why: Ended::Timeout }]);
    assert_eq!(b.rx().op, Operation::RST);
}

#[test]
fn the_hosts_half_close_lets_the_guest_go_on() {
    let mut b = Bench::new(8);
    let instance = b.open(1, 2);
    b.table.host_eof(instance);
    let shutdown = b.rx();
    assert_eq!((shutdown.op, shutdown.flags.get()), (Operation::SHUTDOWN, Shutdown::SEND.bits()));
    let flags = Message::empty();
    assert_eq!(b.data(1, 2, 7), [Action::Deliver { instance, len: 7, flags }]);
    b.with(|t, out| t.forwarded(instance, 7, out));
    assert_eq!(b.table.next_deadline(), None, "and for as long as it wants");
    assert_eq!(b.shutdown(1, 2, Shutdown::SEND), [Action::ShutdownWrite { instance }]);
    b.table.set_readable(instance, true);
    b.nothing_owed();
}

#[test]
fn a_host_that_is_gone_is_told_to_the_guest_and_waited_for_no_longer_than_it_may() {
    let mut b = Bench::new(8);
    let instance = b.open(1, 2);
    b.data(1, 2, 100);
    b.with(|t, out| t.host_hung_up(instance, out));
    assert_eq!(b.rx().flags.get(), Shutdown::RECEIVE.bits());
    assert_eq!(b.data(1, 2, 100), [], "nobody reads it: thrown away, and not held against the guest");
    b.table.host_eof(instance);
    let turn = b.table.next_turn().unwrap();
    assert_eq!(b.table.control_header(turn).unwrap().flags.get(), Shutdown::all().bits());
    let out = b.with(|t, out| t.control_sent(turn, Instant::now(), out));
    assert_eq!(out, [Action::Close { instance, why: Ended::Done }]);
    assert!(b.table.next_deadline().is_some());
    b.expire_after(Duration::from_secs(3));
    assert_eq!(b.rx().op, Operation::RST);
    assert!(b.table.is_empty());
}

#[test]
fn the_limit_counts_clients_and_connections_that_owe_an_rst() {
    let mut b = Bench::new(2);
    let first = b.open(1, 2);
    b.with(|t, out| t.host_failed(first, out));
    b.open_starved(2, 2);
    let out = b.op(3, 2, Operation::REQUEST);
    assert_eq!(out, []);
    assert_eq!(b.table.host_request(1, SocketType::STREAM, 0, None), Err(NoConnection::Full));
    assert_eq!(b.counters.over_limit.get(), 2);
    assert_eq!(b.rx().dst_port.get(), 3);
    b.rx();
    b.rx();
    assert_eq!(b.table.len(), 1);
    assert_eq!(b.table.host_request(1, SocketType::STREAM, 1, None), Err(NoConnection::Full));
    assert!(b.table.host_request(1, SocketType::STREAM, 0, None).is_ok());
}

impl Bench {
    fn open_starved(&mut self, guest: u32, host: u32) {
        let instance = self.request(guest, host);
        self.table.host_connected(instance);
        self.table.set_readable(instance, false);
    }
}

#[test]
fn turns_go_round() {
    let mut b = Bench::new(8);
    let (one, two) = (b.open(1, 2), b.open(2, 2));
    b.table.set_readable(one, true);
    b.table.set_readable(two, true);
    let mut order = Vec::new();
    for _ in 0..4 {
        let Some(Turn::Data(instance, _)) = b.table.next_turn() else { panic!("no data") };
        b.table.data_sent(instance, 10);
        order.push(instance);
    }
    assert_eq!(order, [one, two, one, two]);
}

#[test]
fn a_restart_forgets_connections_but_no_instance_number_comes_twice() {
    let mut b = Bench::new(8);
    let old = b.open(1, 2);
    b.data(9, 9, 1);
    b.table.restart(Kinds::negotiated(FEATURE_SEQPACKET));
    b.nothing_owed();
    assert!(b.table.is_empty());
    assert_eq!(b.table.next_deadline(), None);
    let new = b.request(1, 2);
    assert_ne!(old, new);
    b.send(Header { socket_type: SocketType::SEQPACKET, ..packet(5, 2, Operation::REQUEST) });
    assert_eq!(b.table.len(), 2, "SEQPACKET was negotiated this time");
    // A packet of the other type is for nobody.
    b.send(Header { socket_type: SocketType::SEQPACKET, ..packet(1, 2, Operation::RST) });
    assert_eq!(b.table.len(), 2);
}
