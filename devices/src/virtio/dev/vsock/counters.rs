//! What the device counts. Read by whoever shows metrics; never decides anything.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn one(&self) {
        self.add(1);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of one vsock device, over its whole life (a reset keeps them).
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: Counter,)*
        }

        impl Counters {
            /// Every counter with its name, for metrics.
            pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.get()),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Packets from the guest.
    tx_packets,
    /// Bytes of data from the guest.
    tx_bytes,
    /// Bytes of `tx_bytes` that had to wait in a bounce buffer.
    tx_bounced_bytes,
    /// Packets to the guest.
    rx_packets,
    /// Bytes of data to the guest.
    rx_bytes,
    /// Times something was owed to the guest and it had posted no buffer.
    rx_starved,
    /// Buffers of the guest's too small for a header, returned empty.
    rx_small_buffers,
    /// Chains from the guest that are no packet (too short, or their memory is not readable).
    tx_bad_chains,
    /// Chains for packets to the guest whose memory is not writable.
    rx_bad_chains,
    /// Packets with a source address that is not the guest's.
    wrong_source,
    /// Packets to an address that is not the host's.
    wrong_destination,
    /// Packets of a socket type that is not offered.
    unknown_type,
    /// Packets with an operation that virtio does not know.
    unknown_operation,
    /// Packets for a connection that is not there.
    no_connection,
    /// Connections ended because the guest broke the protocol.
    protocol_errors,
    /// Connections ended because the guest sent more than its credit.
    credit_violations,
    /// RSTs owed to the guest and dropped, because too many were owed.
    resets_dropped,
    /// Connections that the guest asked for.
    guest_requests,
    /// Connections that host clients asked for.
    host_requests,
    /// Connections refused because there were as many as may be.
    over_limit,
    /// Connections that nobody on the host listened for.
    host_refused,
    /// Connections that the guest refused.
    guest_refused,
    /// Connections and clients ended by a timer.
    timeouts,
    /// Host clients whose first line was no CONNECT line.
    bad_lines,
    /// Times the host had no file descriptor or memory for a new socket.
    accept_failures,
    /// Connections ended by an error of the host's socket.
    host_errors,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_listed_by_name() {
        let c = Counters::default();
        c.tx_bytes.add(7);
        c.host_errors.one();
        let set: Vec<_> = c.all().filter(|(_, n)| *n > 0).collect();
        assert_eq!(set, [("tx_bytes", 7), ("host_errors", 1)]);
    }
}
