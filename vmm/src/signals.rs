//! Signals that end the VMM, turned into events, so that it ends in order.

use std::io;
use std::thread::JoinHandle;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::board::{Event, Events};

/// Forwards signals while it lives.
pub(crate) struct Forwarder {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Forwarder {
    /// From now on SIGINT, SIGTERM and SIGHUP become events. A second one ends the process at once, for
    /// the case that the orderly way hangs.
    pub(crate) fn start(events: Events) -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let handle = signals.handle();
        let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let mut seen = false;
            for number in signals.forever() {
                if seen {
                    crate::terminal::give_back();
                    std::process::exit(128 + number);
                }
                seen = true;
                events.send(Event::Signal(number));
            }
        })?;
        Ok(Forwarder { handle, thread: Some(thread) })
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
