//! One connection: the session's I/O, with time-outs and an end at any moment.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Broker, BrokerEvent, BrokerSession, Outcome, Reaction, Refusal, Stop};

/// Longest wait for room to send a last word.
const LAST_WORD: Duration = Duration::from_millis(200);

impl Broker {
    /// Serves one connection to its end. Counting and rate limits are [`Broker::listen`]'s.
    pub fn serve_connection(&self, stream: UnixStream, stop: &Stop, events: &dyn Fn(BrokerEvent)) -> Outcome {
        let limits = self.config().limits;
        let start = Instant::now();
        let deadline = start.checked_add(limits.total).unwrap_or(start);
        let mut connection = Connection { stream, stop, events, idle: limits.idle, deadline };
        let mut session = self.session();
        match connection.run(&mut session) {
            Ok(outcome) => outcome,
            Err(refusal) => connection.give_up(&mut session, refusal),
        }
    }
}

/// Tells a guest that it is not served now, without a session.
pub(super) fn turn_away(broker: &Broker, stream: UnixStream, refusal: &Refusal) {
    let reaction = broker.session().end(refusal.clone());
    if let (Some(bytes), Ok(())) = (reaction.send, stream.set_nonblocking(true)) {
        // One short frame into an empty socket; if that does not go, it does not matter.
        let _ = (&stream).write(&bytes);
    }
}

struct Connection<'a> {
    stream: UnixStream,
    stop: &'a Stop,
    events: &'a dyn Fn(BrokerEvent),
    idle: Duration,
    deadline: Instant,
}

fn failed(error: &io::Error) -> Refusal {
    match error.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Refusal::Closed,
        kind => Refusal::Io(kind),
    }
}

impl Connection<'_> {
    fn run(&mut self, session: &mut BrokerSession) -> Result<Outcome, Refusal> {
        self.stream.set_nonblocking(true).map_err(|e| failed(&e))?;
        let mut buffer = [0u8; 4096];
        loop {
            let count = self.read(&mut buffer)?;
            let mut input = buffer.get(..count).unwrap_or_default();
            while !input.is_empty() {
                let reaction = session.on_bytes(&mut input);
                if let Some(outcome) = self.act(reaction)? {
                    return Ok(outcome);
                }
            }
        }
    }

    fn act(&mut self, reaction: Reaction) -> Result<Option<Outcome>, Refusal> {
        let ends = reaction.outcome.is_some();
        let sent = reaction.send.map_or(Ok(()), |bytes| self.write(&bytes));
        reaction.events.into_iter().for_each(self.events);
        // A last word that does not arrive changes nothing about the outcome.
        if ends { Ok(reaction.outcome) } else { sent.map(|()| None) }
    }

    fn give_up(&mut self, session: &mut BrokerSession, refusal: Refusal) -> Outcome {
        let silent = matches!(refusal, Refusal::Closed | Refusal::Io(_));
        let reaction = session.end(refusal);
        reaction.events.into_iter().for_each(self.events);
        if let (Some(bytes), false) = (reaction.send, silent) {
            let now = Instant::now();
            self.deadline = now.checked_add(LAST_WORD).unwrap_or(now);
            let _ = self.write(&bytes);
        }
        // `end` always has an outcome.
        reaction.outcome.unwrap_or(Outcome {
            verdict: None,
            released: Vec::new(),
            confirmed: false,
            refusal: None,
        })
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Refusal> {
        let idle_end = Instant::now().checked_add(self.idle);
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(Refusal::Closed),
                Ok(count) => return Ok(count),
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.wait(PollFlags::IN, idle_end)?,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(failed(&e)),
            }
        }
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        let idle_end = Instant::now().checked_add(self.idle);
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(0) => return Err(Refusal::Closed),
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.wait(PollFlags::OUT, idle_end)?,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(failed(&e)),
            }
        }
        Ok(())
    }

    /// Waits until the stream is ready, the broker stops, or time is up.
    fn wait(&mut self, flags: PollFlags, idle_end: Option<Instant>) -> Result<(), Refusal> {
        let now = Instant::now();
        let total = self.deadline.saturating_duration_since(now);
        let idle = idle_end.map_or(total, |end| end.saturating_duration_since(now));
        if total.is_zero() {
            return Err(Refusal::TooSlow);
        }
        if idle.is_zero() {
            return Err(Refusal::Idle);
        }
        let mut fds = [PollFd::new(&self.stream, flags), PollFd::new(self.stop, PollFlags::IN)];
        let timeout = Timespec::try_from(total.min(idle)).ok();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Refusal::Io(io::Error::from(errno).kind())),
        }
        let [stream, stop] = &fds;
        match (stop.revents().is_empty(), stream.revents().is_empty()) {
            (true, _) => Ok(()),
            (false, true) => Err(Refusal::Stopped),
            // What the guest has sent already is still heard, CONFIRM most of all; but not for long.
            (false, false) => {
                let soon = Instant::now().checked_add(LAST_WORD).unwrap_or(now);
                self.deadline = self.deadline.min(soon);
                Ok(())
            }
        }
    }
}
