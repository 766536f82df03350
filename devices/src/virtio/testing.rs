//! Fixtures for device tests without a transport: the interrupt side faked, the ring side driven.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fixture: it fails loudly, and no guest reaches it"
)]

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use cloister_coco::memory::SharedMemory;

use super::queue::testing::{Completion, Driver};
use super::queue::{Queue, QueueConfig};
use super::{Activation, ActiveQueue, ConfigInterrupt, Doorbell, Failure, Features, QueueInterrupt, Signals};

/// Counts what a device signals, and lets a test wait for it.
#[derive(Debug, Default)]
pub struct FakeSignals {
    seen: Mutex<Seen>,
    changed: Condvar,
}

/// What was signalled so far.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Interrupts by queue.
    pub queues: HashMap<u16, u64>,
    /// Configuration changes.
    pub config: u64,
    /// Times that the device declared itself broken.
    pub needs_reset: u64,
}

impl Signals for FakeSignals {
    fn queue(&self, index: u16) {
        *self.seen.lock().unwrap().queues.entry(index).or_default() += 1;
        self.changed.notify_all();
    }
    fn config_changed(&self) {
        self.seen.lock().unwrap().config += 1;
        self.changed.notify_all();
    }
    fn needs_reset(&self) {
        self.seen.lock().unwrap().needs_reset += 1;
        self.changed.notify_all();
    }
}

impl FakeSignals {
    /// What was signalled so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until `condition` holds of what was signalled, asking again at each signal and every few
    /// milliseconds (for conditions that look elsewhere too); says whether it came to hold in time.
    pub fn wait(&self, timeout: Duration, mut condition: impl FnMut(&Seen) -> bool) -> bool {
        let deadline = Instant::now() + timeout;
        let mut seen = self.seen.lock().unwrap();
        loop {
            if condition(&seen) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            seen = self.changed.wait_timeout(seen, Duration::from_millis(5)).unwrap().0;
        }
    }
}

/// A machine with nothing in it but memory, interrupts and the driver's halves of a device's queues.
#[derive(Debug)]
pub struct Harness {
    /// The memory.
    pub mem: SharedMemory,
    /// The driver's half of each queue.
    pub drivers: Vec<Driver>,
    /// The doorbell of each queue.
    pub kicks: Vec<Arc<Doorbell>>,
    /// What the device signalled.
    pub signals: Arc<FakeSignals>,
    /// What was negotiated.
    pub features: Features,
}

/// How long tests wait for what must happen: long, for it is only ever waited out by a failure.
pub const TIMEOUT: Duration = Duration::from_secs(10);

impl Harness {
    /// A harness with one queue for each of `sizes`, each with 1 MiB of buffers. Indirect descriptors
    /// are negotiated, and so is what `features` says (EVENT_IDX reaches the drivers).
    pub fn new(sizes: &[u16], features: Features) -> Harness {
        let span: u64 = 2 << 20;
        let mem = SharedMemory::for_test(span * (sizes.len() as u64 + 1));
        let driver = |(i, size): (usize, &u16)| {
            let base = span * i as u64;
            let driver = Driver::new(&mem, base, base + span, *size);
            if features.contains(Features::RING_EVENT_IDX) { driver.with_event_idx() } else { driver }
        };
        let drivers: Vec<_> = sizes.iter().enumerate().map(driver).collect();
        let kick = |_: &u16| Arc::new(Doorbell::new().unwrap());
        let kicks = sizes.iter().map(kick).collect();
        let features = features | Features::VERSION_1 | Features::RING_INDIRECT_DESC;
        Harness { mem, drivers, kicks, signals: Arc::default(), features }
    }

    /// What a transport would hand to the device, with all queues enabled.
    pub fn activation(&self) -> Activation {
        let signals: Arc<dyn Signals> = self.signals.clone();
        let configs: Vec<QueueConfig> = self.drivers.iter().map(Driver::config).collect();
        let queue = |(i, config): (usize, &QueueConfig)| {
            Some(ActiveQueue {
                queue: Queue::new(*config, &self.mem).unwrap(),
                kick: Arc::clone(&self.kicks[i]),
                interrupt: QueueInterrupt::new(Arc::clone(&signals), i as u16),
            })
        };
        Activation {
            mem: self.mem.clone(),
            features: self.features,
            queues: configs.iter().enumerate().map(queue).collect(),
            config: ConfigInterrupt::new(Arc::clone(&signals)),
            failure: Failure::new(signals),
        }
    }

    /// Starts afresh with queue `index`, as a driver does after a reset.
    pub fn renew(&mut self, index: usize) {
        let old = self.drivers[index].config();
        let span: u64 = 2 << 20;
        let driver = Driver::new(&self.mem, old.desc, old.desc + span, old.size);
        self.drivers[index] = if old.event_idx { driver.with_event_idx() } else { driver };
    }

    /// Publishes what was added to queue `index` and rings the doorbell if the device wants it rung.
    pub fn kick(&mut self, index: usize) {
        if self.drivers[index].publish() {
            self.kicks[index].ring();
        }
    }

    /// Waits for the next completion of queue `index`, as a driver does: asks for an interrupt, looks,
    /// and waits for nothing but that interrupt. `None` if the device does not complete in time.
    /// Panics where the device breaks the ring's rules, or completes and does not interrupt.
    pub fn completion(&mut self, index: usize, timeout: Duration) -> Option<Completion> {
        let deadline = Instant::now() + timeout;
        loop {
            let before = self.interrupts(index);
            if let Some(completion) = self.take_completion(index) {
                return Some(completion);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !left.is_zero() && self.wait_interrupt(index, before, left) {
                continue;
            }
            let late = self.take_completion(index);
            let told = late.is_none() || self.wait_interrupt(index, before, TIMEOUT);
            assert!(told, "the device completed a request and did not interrupt");
            return late;
        }
    }

    fn take_completion(&mut self, index: usize) -> Option<Completion> {
        let driver = &mut self.drivers[index];
        driver.want_interrupt();
        driver.completed().expect("the device broke the ring's rules")
    }

    fn interrupts(&self, index: usize) -> u64 {
        self.signals.seen().queues.get(&(index as u16)).copied().unwrap_or(0)
    }

    fn wait_interrupt(&self, index: usize, before: u64, timeout: Duration) -> bool {
        let count = |seen: &Seen| seen.queues.get(&(index as u16)).copied().unwrap_or(0);
        self.signals.wait(timeout, |seen| count(seen) > before)
    }
}
