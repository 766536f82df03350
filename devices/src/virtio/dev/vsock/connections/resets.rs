//! RSTs owed to the guest for connections that are not there.

use std::collections::VecDeque;

use super::Pair;
use crate::virtio::dev::vsock::spec::SocketType;

/// Most RSTs owed at a time; a guest that wants more of them first takes these.
pub(super) const MAX_RESETS: usize = 256;

/// At most one RST per pair of ports, at most [`MAX_RESETS`] in all, oldest first.
#[derive(Debug, Default)]
pub(super) struct Resets {
    owed: VecDeque<(Pair, SocketType)>,
}

impl Resets {
    /// Owes one more. False if that is too many: it is dropped.
    #[must_use]
    pub(super) fn push(&mut self, pair: Pair, socket_type: SocketType) -> bool {
        if self.owed.iter().any(|&(p, t)| p == pair && t == socket_type) {
            return true;
        }
        let fits = self.owed.len() < MAX_RESETS;
        if fits {
            self.owed.push_back((pair, socket_type));
        }
        fits
    }

    /// The guest asks for a connection on this pair: an RST for an earlier one would end the new one.
    pub(super) fn cancel(&mut self, pair: Pair) {
        self.owed.retain(|&(p, _)| p != pair);
    }

    /// The one to send next.
    pub(super) fn first(&self) -> Option<(Pair, SocketType)> {
        self.owed.front().copied()
    }

    /// It was sent.
    pub(super) fn sent(&mut self) {
        self.owed.pop_front();
    }

    /// How many are owed.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.owed.len()
    }

    /// Owes nothing any more.
    pub(super) fn clear(&mut self) {
        self.owed.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(guest: u32) -> Pair {
        Pair { guest, host: 1 }
    }

    #[test]
    fn bounded_and_one_per_pair() {
        let mut resets = Resets::default();
        for _ in 0..2 {
            for guest in 0..256 {
                assert!(resets.push(pair(guest), SocketType::STREAM));
            }
        }
        assert!(!resets.push(pair(256), SocketType::STREAM));
        assert_eq!(resets.len(), MAX_RESETS);
        resets.cancel(pair(0));
        assert_eq!(resets.first(), Some((pair(1), SocketType::STREAM)));
        resets.sent();
        assert!(resets.push(pair(256), SocketType::STREAM));
        assert_eq!(resets.len(), 255);
        resets.clear();
        assert_eq!(resets.first(), None);
    }
}
