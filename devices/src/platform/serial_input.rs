//! The host's end of a serial port's input: a bounded queue in front of the UART's 64-byte FIFO.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::lock;
use super::serial::Chip;

/// Bytes that wait beside the UART's own FIFO.
const CAPACITY: usize = 16 << 10;

/// The UART, and the bytes that did not fit into it.
pub(super) struct Queue {
    pub(super) chip: Chip,
    waiting: VecDeque<u8>,
    /// The port is gone, and with it whoever would have read.
    gone: bool,
}

impl From<Chip> for Queue {
    fn from(chip: Chip) -> Self {
        Queue { chip, waiting: VecDeque::new(), gone: false }
    }
}

/// What the port and its input handle share.
pub(super) struct Input {
    pub(super) queue: Mutex<Queue>,
    room: Condvar,
}

impl Input {
    pub(super) fn new(queue: Mutex<Queue>) -> Self {
        Input { queue, room: Condvar::new() }
    }

    /// The port is gone. Whoever waits for room must not go on holding what is behind the port (its interrupt,
    /// and so the VM).
    pub(super) fn end(&self) {
        lock(&self.queue).gone = true;
        self.room.notify_all();
    }

    /// Moves what fits from the queue to the UART. Called after every access of the guest.
    pub(super) fn refill(&self, queue: &mut Queue) {
        let mut moved = false;
        while !queue.waiting.is_empty() {
            let (next, _) = queue.waiting.as_slices();
            // The error is a full FIFO; in loopback the UART takes nothing.
            let taken = queue.chip.enqueue_raw_bytes(next).unwrap_or(0);
            if taken == 0 {
                break;
            }
            queue.waiting.drain(..taken.min(queue.waiting.len()));
            moved = true;
        }
        if moved {
            self.room.notify_all();
        }
    }
}

/// Through this the host types into a serial port. From any thread; clones feed the same port.
#[derive(Clone)]
pub struct SerialInput {
    input: Arc<Input>,
}

impl SerialInput {
    pub(super) fn new(input: Arc<Input>) -> Self {
        SerialInput { input }
    }

    /// Takes as many of `bytes` as there is room for and says how many that was: all, where the port is gone.
    /// Never blocks.
    pub fn offer(&self, bytes: &[u8]) -> usize {
        let mut queue = lock(&self.input.queue);
        if queue.gone {
            return bytes.len();
        }
        let room = CAPACITY.saturating_sub(queue.waiting.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        queue.waiting.extend(taken);
        self.input.refill(&mut queue);
        taken.len()
    }

    /// Waits until [`Self::offer`] would take something; false if the guest read nothing for `timeout`.
    pub fn wait_for_room(&self, timeout: Duration) -> bool {
        let queue = lock(&self.input.queue);
        let full = |queue: &mut Queue| queue.waiting.len() >= CAPACITY && !queue.gone;
        let waited = self.input.room.wait_timeout_while(queue, timeout, full);
        !waited.unwrap_or_else(|e| e.into_inner()).1.timed_out()
    }
}

impl fmt::Debug for SerialInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SerialInput").finish_non_exhaustive()
    }
}
