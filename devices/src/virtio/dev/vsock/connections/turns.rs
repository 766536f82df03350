//! Whose turn it is to send to the guest.

use std::collections::BTreeMap;

use super::Instance;

/// Round robin over those that owe the guest something. A connection is in it once or not at all.
#[derive(Debug, Default)]
pub(super) struct Turns {
    order: BTreeMap<u64, Instance>,
    next: u64,
}

impl Turns {
    /// Puts `instance` at the end, or takes it out. `place` is where it stands and is kept up to date.
    pub(super) fn set(&mut self, instance: Instance, place: &mut Option<u64>, wants: bool) {
        match (wants, *place) {
            (true, None) => {
                *place = Some(self.next);
                self.order.insert(self.next, instance);
                self.next = self.next.wrapping_add(1);
            }
            (false, Some(at)) => {
                self.order.remove(&at);
                *place = None;
            }
            _ => {}
        }
    }

    /// Who is first.
    pub(super) fn first(&self) -> Option<Instance> {
        self.order.first_key_value().map(|(_, i)| *i)
    }

    /// Nobody wants a turn any more.
    pub(super) fn clear(&mut self) {
        self.order.clear();
    }

    /// How many want one.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }
}
