//! The state machine by force: whatever comes, in whatever order, the rules hold.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::table_test::{BUFFER, CID, limits, packet};
use super::*;
use crate::virtio::dev::vsock::counters::Counters;
use crate::virtio::dev::vsock::spec::{FEATURE_SEQPACKET, Header, Message, Operation, Shutdown, SocketType};

const CONNECTIONS: usize = 12;

#[derive(Debug, Clone)]
enum Event {
    Packet { guest: u32, host: u32, op: u16, len: u32, flags: u32, alloc: u32, fwd: u32, kind: u16 },
    HostRequest(u32),
    Connected(usize),
    Refused(usize),
    Readable(usize, bool),
    Forward(usize, u32),
    Eof(usize),
    HungUp(usize),
    Failed(usize),
    Rx(u32),
    Wait(u16),
}

fn event() -> impl Strategy<Value = Event> {
    let numbers = prop_oneof![Just(0), Just(1), 0..BUFFER * 2, Just(BUFFER), any::<u32>()];
    let operation = prop_oneof![8 => 0u16..9, 4 => Just(5), 1 => any::<u16>()];
    let kind = prop_oneof![20 => Just(1u16), 8 => Just(2), 1 => any::<u16>()];
    let which = 0usize..CONNECTIONS;
    let a_packet =
        (0u32..4, 0u32..4, operation, numbers.clone(), any::<u32>(), numbers.clone(), numbers, kind)
            .prop_map(|(guest, host, op, len, flags, alloc, fwd, kind)| {
                // Host clients' ports are not small numbers.
                let host = if host == 3 { 1 << 30 } else { host };
                Event::Packet { guest, host, op, len, flags, alloc, fwd, kind }
            });
    prop_oneof![
        12 => a_packet,
        1 => (0u32..4).prop_map(Event::HostRequest),
        3 => which.clone().prop_map(Event::Connected),
        1 => which.clone().prop_map(Event::Refused),
        3 => (which.clone(), any::<bool>()).prop_map(|(i, r)| Event::Readable(i, r)),
        3 => (which.clone(), 0..BUFFER).prop_map(|(i, n)| Event::Forward(i, n)),
        1 => which.clone().prop_map(Event::Eof),
        1 => which.clone().prop_map(Event::HungUp),
        1 => which.prop_map(Event::Failed),
        6 => (1u32..5000).prop_map(Event::Rx),
        1 => (0u16..3000).prop_map(Event::Wait),
    ]
}

/// What a worker would hold: the sockets, and what waits for each of them.
#[derive(Default)]
struct Model {
    sockets: HashMap<Instance, u32>,
    order: Vec<Instance>,
    eof_told: HashMap<Instance, u32>,
}

impl Model {
    fn pick(&self, i: usize) -> Instance {
        // Sometimes one that is long gone: late events happen.
        self.order.get(self.order.len().saturating_sub(1 + i)).copied().unwrap_or(Instance(0))
    }

    fn obey(&mut self, actions: &[Action], table: &Table) {
        for action in actions {
            match *action {
                Action::Connect { instance, .. } => {
                    assert!(self.sockets.insert(instance, 0).is_none());
                    self.order.push(instance);
                }
                Action::Established { instance, .. }
                | Action::ShutdownWrite { instance }
                | Action::ShutdownRead { instance } => {
                    assert!(self.sockets.contains_key(&instance));
                    if matches!(action, Action::ShutdownWrite { .. }) {
                        assert_eq!(self.sockets[&instance], 0, "closed before the last byte was written");
                    }
                }
                Action::Deliver { instance, len, .. } => {
                    let pending = self.sockets.get_mut(&instance).expect("a socket to deliver to");
                    *pending += len;
                    assert!(*pending <= BUFFER, "more than what was advertised must be held");
                }
                Action::Close { instance, .. } => {
                    assert!(self.sockets.remove(&instance).is_some(), "closed twice, or never opened");
                }
            }
        }
        assert!(self.sockets.len() <= table.len(), "a socket without a connection");
    }
}

fn run(events: &[Event]) {
    let counters = Arc::new(Counters::default());
    let mut table = Table::new(CID, limits(CONNECTIONS), counters);
    table.restart(Kinds::negotiated(FEATURE_SEQPACKET));
    let mut model = Model::default();
    let mut now = Instant::now();
    for event in events {
        let mut out = Vec::new();
        match *event {
            Event::Packet { guest, host, op, len, flags, alloc, fwd, kind } => {
                let header = Header {
                    len: len.into(),
                    flags: flags.into(),
                    buf_alloc: alloc.into(),
                    fwd_cnt: fwd.into(),
                    socket_type: SocketType(kind.into()),
                    ..packet(guest, host, Operation(op.into()))
                };
                table.packet(&header, 0, now, &mut out);
            }
            Event::HostRequest(port) => {
                let deadline = now.checked_add(Duration::from_secs(2));
                if let Ok(instance) = table.host_request(port, SocketType::STREAM, 0, deadline) {
                    model.sockets.insert(instance, 0);
                    model.order.push(instance);
                }
            }
            Event::Connected(i) => table.host_connected(model.pick(i)),
            Event::Refused(i) => table.host_refused(model.pick(i), &mut out),
            Event::Readable(i, readable) => table.set_readable(model.pick(i), readable),
            Event::Forward(i, n) => {
                let instance = model.pick(i);
                if let Some(pending) = model.sockets.get_mut(&instance) {
                    let n = n.min(*pending);
                    *pending -= n;
                    table.forwarded(instance, n, &mut out);
                }
            }
            Event::Eof(i) => table.host_eof(model.pick(i)),
            Event::HungUp(i) => {
                let instance = model.pick(i);
                if let Some(pending) = model.sockets.get_mut(&instance) {
                    *pending = 0;
                }
                table.host_hung_up(instance, &mut out);
            }
            Event::Failed(i) => table.host_failed(model.pick(i), &mut out),
            Event::Rx(len) => receive(&mut table, &mut model, len, now, &mut out),
            Event::Wait(ms) => {
                now += Duration::from_millis(ms.into());
                table.expire(now, &mut out);
                assert!(table.next_deadline().is_none_or(|at| at > now));
            }
        }
        model.obey(&out, &table);
        table.check_invariants();
    }
    // A guest that takes everything and lets time pass ends with nothing owed.
    for _ in 0..10_000 {
        if table.next_turn().is_none() {
            return;
        }
        let mut out = Vec::new();
        receive(&mut table, &mut model, 1 << 16, now, &mut out);
        model.obey(&out, &table);
    }
    panic!("the device never runs out of things to say");
}

fn receive(table: &mut Table, model: &mut Model, len: u32, now: Instant, out: &mut Vec<Action>) {
    let Some(turn) = table.next_turn() else { return };
    match turn {
        Turn::Data(instance, room) => {
            assert!(room > 0 && model.sockets.contains_key(&instance));
            assert!(!model.eof_told.contains_key(&instance), "data after the end");
            table.data_header(instance, len.min(room), Message::empty()).expect("a header");
            table.data_sent(instance, len.min(room));
        }
        Turn::Stray | Turn::Control(..) => {
            let header = table.control_header(turn).expect("a header");
            assert_eq!(header.len.get(), 0);
            if let (Turn::Control(instance, _), Operation::SHUTDOWN) = (turn, header.op) {
                let flags = header.flags.get();
                let before = model.eof_told.get(&instance).copied().unwrap_or(0);
                assert_eq!(flags & before, before, "a shutdown is permanent");
                if flags & Shutdown::SEND.bits() != 0 {
                    model.eof_told.insert(instance, flags);
                }
            }
            table.control_sent(turn, now, out);
        }
    }
}

proptest! {
    // 240 runs of 250 events: 60,000.
    #![proptest_config(ProptestConfig { cases: 240, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_order_of_events_breaks_the_rules(events in proptest::collection::vec(event(), 250)) {
        run(&events);
    }
}
