//! What a connection owes the guest.

use std::time::{Duration, Instant};

use super::{Action, Connection, Ended, Limits, Owed, Phase};
use crate::virtio::dev::vsock::connections::after;
use crate::virtio::dev::vsock::spec::{Operation, Shutdown};

/// How long to wait before asking again for credit, at first and at most. Guests tell of new room by
/// themselves when they had little, but not when what they lacked was room for more packets.
pub(super) const PROBE_FIRST: Duration = Duration::from_millis(100);
const PROBE_LAST: Duration = Duration::from_millis(3200);

impl Connection {
    /// Brings what is owed up to date with the credit on both sides. Called after every event.
    pub(in super::super) fn balance(&mut self) {
        if self.phase != Phase::Open {
            return;
        }
        if self.inbound.update_due() && !self.guest_done.contains(Shutdown::SEND) {
            self.owed.insert(Owed::CREDIT_UPDATE);
        }
        let blocked = self.readable && self.outbound.room() == 0;
        if blocked && !self.asked {
            self.asked = true;
            self.probe_wait = PROBE_FIRST;
            self.owed.insert(Owed::CREDIT_REQUEST);
        } else if !blocked {
            self.asked = false;
            self.probe = None;
            self.owed.remove(Owed::CREDIT_REQUEST);
        }
    }

    /// The next packet without data that is owed, in the order that the guest shall see. What is there to
    /// be read comes before a shutdown, so that the end of it can be told in the same packet.
    pub(in super::super) fn control(&self) -> Option<Operation> {
        let last = self.data_room().is_some().then_some(Operation::SHUTDOWN);
        [
            (Owed::RESET, Operation::RST),
            (Owed::REQUEST, Operation::REQUEST),
            (Owed::RESPONSE, Operation::RESPONSE),
            (Owed::CREDIT_UPDATE, Operation::CREDIT_UPDATE),
            (Owed::CREDIT_REQUEST, Operation::CREDIT_REQUEST),
            (Owed::SHUTDOWN, Operation::SHUTDOWN),
        ]
        .into_iter()
        .find_map(|(flag, op)| self.owed.contains(flag).then_some(op))
        .filter(|&op| Some(op) != last)
    }

    /// How much data may go to the guest now.
    pub(in super::super) fn data_room(&self) -> Option<u32> {
        let room = if self.readable && self.may_read() { self.outbound.room() } else { 0 };
        (room > 0).then_some(room)
    }

    /// The flags of a packet without data.
    pub(in super::super) fn flags(&self, op: Operation) -> u32 {
        if op == Operation::SHUTDOWN { self.host_done.bits() } else { 0 }
    }

    /// What the guest has room for in all.
    pub(in super::super) fn guest_buffer(&self) -> u32 {
        self.outbound.peer_alloc()
    }

    /// What every packet says of our credit: room in all, and bytes passed on.
    pub(in super::super) fn credit(&self) -> (u32, u32) {
        (self.inbound.buf_alloc(), self.inbound.forwarded())
    }

    /// A packet without data was given to the guest.
    pub(in super::super) fn control_sent(
        &mut self,
        op: Operation,
        limits: &Limits,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        self.told_credit();
        match op {
            Operation::RST => self.owed = Owed::empty(),
            Operation::REQUEST => self.owed.remove(Owed::REQUEST),
            Operation::RESPONSE => self.owed.remove(Owed::RESPONSE),
            Operation::CREDIT_REQUEST => {
                self.owed.remove(Owed::CREDIT_REQUEST);
                self.probe = after(now, self.probe_wait);
                self.probe_wait = self.probe_wait.saturating_mul(2).min(PROBE_LAST);
            }
            Operation::SHUTDOWN => {
                self.owed.remove(Owed::SHUTDOWN);
                if self.host_done == Shutdown::all() {
                    // Nothing can come or go: the socket is done with. The guest answers with an RST.
                    self.readable = false;
                    if std::mem::take(&mut self.socket) {
                        out.push(Action::Close { instance: self.instance, why: Ended::Done });
                    }
                    self.no_later_than(after(now, limits.close));
                }
            }
            _ => {}
        }
    }

    /// A packet with `len` bytes of data was given to the guest.
    pub(in super::super) fn data_sent(&mut self, len: u32) {
        self.told_credit();
        self.outbound.send(len);
    }

    /// Every packet to the guest is a credit update.
    fn told_credit(&mut self) {
        self.inbound.tell();
        self.owed.remove(Owed::CREDIT_UPDATE);
    }
}
