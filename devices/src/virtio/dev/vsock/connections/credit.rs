//! Credit (virtio 1.3 §5.10.6.3): how much either side may send. All counts are modulo 2^32.

use std::collections::VecDeque;

/// What a queued packet costs a Linux guest beside its bytes: since 6.12.92 it resets a connection on
/// which more packets are queued than its buffer has room for at one empty `sk_buff` (576 bytes) each.
const PACKET_COST: u32 = 1024;
/// Most packets whose ends are remembered, whatever the guest says that it has room for.
const MAX_PACKETS: u32 = 4096;

/// From the guest to the host: what we promised, and what became of it.
#[derive(Debug, Clone)]
pub(super) struct Inbound {
    buf_alloc: u32,
    received: u32,
    forwarded: u32,
    told: u32,
}

impl Inbound {
    /// Room for `buf_alloc` bytes, none used.
    pub(super) fn new(buf_alloc: u32) -> Self {
        Inbound { buf_alloc, received: 0, forwarded: 0, told: 0 }
    }

    #[cfg(test)]
    pub(super) fn count_from(&mut self, count: u32) {
        (self.received, self.forwarded, self.told) = (count, count, count);
    }

    /// What we promise to hold.
    pub(super) fn buf_alloc(&self) -> u32 {
        self.buf_alloc
    }

    /// Bytes that arrived and that the host has not taken yet.
    pub(super) fn pending(&self) -> u32 {
        self.received.wrapping_sub(self.forwarded)
    }

    /// `len` bytes arrive. False if the guest had no credit for them: then nothing is counted.
    #[must_use]
    pub(super) fn receive(&mut self, len: u32) -> bool {
        if len > self.buf_alloc.saturating_sub(self.pending()) {
            return false;
        }
        self.received = self.received.wrapping_add(len);
        true
    }

    /// The host took `len` bytes (never more than are pending).
    pub(super) fn forward(&mut self, len: u32) {
        self.forwarded = self.forwarded.wrapping_add(len.min(self.pending()));
    }

    /// Whether the guest should hear of new room by itself: it believes to have little left, and has more.
    pub(super) fn update_due(&self) -> bool {
        let believed = self.buf_alloc.saturating_sub(self.received.wrapping_sub(self.told));
        self.told != self.forwarded && believed < self.buf_alloc / 4
    }

    /// Bytes that the host has taken, ever.
    pub(super) fn forwarded(&self) -> u32 {
        self.forwarded
    }

    /// A packet told the guest of [`Inbound::forwarded`].
    pub(super) fn tell(&mut self) {
        self.told = self.forwarded;
    }
}

/// From the host to the guest: what the guest promised, and what we used of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Outbound {
    sent: u32,
    peer_alloc: u32,
    peer_forwarded: u32,
    /// Where each packet ends that the guest has not passed on yet.
    ends: VecDeque<u32>,
}

impl Outbound {
    #[cfg(test)]
    pub(super) fn count_from(&mut self, count: u32) {
        self.sent = count;
    }

    /// The guest's view, from any packet of its.
    pub(super) fn hear(&mut self, buf_alloc: u32, fwd_cnt: u32) {
        self.peer_alloc = buf_alloc;
        self.peer_forwarded = fwd_cnt;
        let outstanding = self.outstanding();
        while self.ends.front().is_some_and(|&end| self.sent.wrapping_sub(end) >= outstanding) {
            self.ends.pop_front();
        }
    }

    /// What the guest has room for in all.
    pub(super) fn peer_alloc(&self) -> u32 {
        self.peer_alloc
    }

    /// Bytes that may go in one packet now.
    pub(super) fn room(&self) -> u32 {
        let packets = (self.peer_alloc / PACKET_COST).clamp(1, MAX_PACKETS);
        if self.ends.len() as u64 >= u64::from(packets) {
            return 0;
        }
        self.peer_alloc.saturating_sub(self.outstanding())
    }

    /// A packet of `len` bytes went out.
    pub(super) fn send(&mut self, len: u32) {
        self.sent = self.sent.wrapping_add(len);
        self.ends.push_back(self.sent);
    }

    fn outstanding(&self) -> u32 {
        self.sent.wrapping_sub(self.peer_forwarded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_may_fill_the_buffer_and_not_a_byte_more() {
        let mut inbound = Inbound::new(100);
        assert!(inbound.receive(60));
        assert!(!inbound.receive(41));
        assert!(inbound.receive(40));
        assert!(!inbound.receive(1));
        assert!(!inbound.receive(u32::MAX));
        inbound.forward(10);
        assert!(inbound.receive(10));
        assert_eq!(inbound.pending(), 100);
    }

    #[test]
    fn inbound_counts_wrap() {
        let mut inbound =
            Inbound { buf_alloc: 100, received: u32::MAX - 9, forwarded: u32::MAX - 9, told: 0 };
        inbound.tell();
        assert!(inbound.receive(80));
        assert_eq!(inbound.pending(), 80);
        assert!(!inbound.receive(21));
        assert!(!inbound.update_due());
        inbound.forward(80);
        assert!(inbound.update_due());
        assert_eq!(inbound.forwarded(), 70);
        inbound.tell();
        assert!(!inbound.update_due());
        assert_eq!(inbound.pending(), 0);
    }

    #[test]
    fn an_update_is_due_only_when_the_guest_believes_it_has_little_left() {
        let mut inbound = Inbound::new(100);
        assert!(inbound.receive(75));
        inbound.forward(75);
        assert!(!inbound.update_due());
        assert!(inbound.receive(1));
        assert!(inbound.update_due());
        let mut full = Inbound::new(100);
        assert!(full.receive(100));
        assert!(!full.update_due(), "nothing new to tell");
        full.forward(1);
        assert!(full.update_due(), "a guest without any credit hears of every byte");
    }

    #[test]
    fn outbound_room_is_what_the_guest_promised_less_what_is_on_its_way() {
        let mut outbound = Outbound::default();
        assert_eq!(outbound.room(), 0);
        outbound.hear(10_000, 0);
        assert_eq!(outbound.room(), 10_000);
        outbound.send(9_000);
        assert_eq!(outbound.room(), 1_000);
        outbound.hear(10_000, 4_000);
        assert_eq!(outbound.room(), 5_000);
        outbound.hear(4_000, 4_000);
        assert_eq!(outbound.room(), 0, "the guest may shrink its buffer");
        outbound.hear(10_000, 9_001);
        assert_eq!(outbound.room(), 0, "a guest that claims more than was sent gets nothing");
    }

    #[test]
    fn outbound_counts_wrap() {
        let mut outbound = Outbound { sent: u32::MAX - 9, ..Outbound::default() };
        outbound.hear(100_000, u32::MAX - 9);
        outbound.send(60);
        assert_eq!(outbound.sent, 50);
        assert_eq!(outbound.room(), 99_940);
        outbound.hear(100_000, 50);
        assert_eq!(outbound.room(), 100_000);
        assert!(outbound.ends.is_empty());
    }

    #[test]
    fn packets_are_metered_as_well_as_bytes() {
        let mut outbound = Outbound::default();
        outbound.hear(4 * PACKET_COST, 0);
        for _ in 0..4 {
            assert!(outbound.room() > 0);
            outbound.send(1);
        }
        assert_eq!(outbound.room(), 0, "four packets fit, though there is room for many bytes");
        outbound.hear(4 * PACKET_COST, 2);
        assert_eq!(outbound.ends.len(), 2);
        assert!(outbound.room() > 0);
        outbound.hear(u32::MAX, 2);
        for _ in 0..MAX_PACKETS * 2 {
            if outbound.room() > 0 {
                outbound.send(1);
            }
        }
        assert_eq!(outbound.ends.len() as u32, MAX_PACKETS, "what is remembered is bounded");
    }

    #[test]
    fn a_tiny_buffer_still_gets_a_packet() {
        let mut outbound = Outbound::default();
        outbound.hear(100, 0);
        assert_eq!(outbound.room(), 100);
    }
}
