//! Following a command: passing on what it prints until it ends, or for as long as it may.

use crate::child::Reaped;
use std::{
    io::{Read, Write},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

/// How long a command may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// When it began.
    pub(crate) began: Instant,
    /// In all.
    pub(crate) whole: Duration,
    /// Without printing anything.
    pub(crate) silence: Option<Duration>,
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself.
    Itself,
    /// It was killed because it took too long in all.
    Late,
    /// It was killed because it had printed nothing for too long.
    Silent,
}

/// Copies what QEMU prints until it ends or has to be killed; also returns the last line.
pub(crate) fn follow(mut qemu: Reaped, limits: Limits, output: &mut (dyn Write + Send)) -> (End, String) {
    // Held open to the end: at end of file QEMU closes the port, and the guest blocks.
    let _stdin = qemu.0.stdin.take();
    let mut stdout = qemu.0.stdout.take();
    let (heard, wait) = mpsc::channel();
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut line = LastLine::default();
            let mut buffer = [0; 16384];
            while let Some(count) =
                stdout.as_mut().and_then(|pipe| pipe.read(&mut buffer).ok()).filter(|count| *count > 0)
            {
                let _ = heard.send(());
                line.add(&buffer[..count]);
                // A reader who has gone away does not end the run.
                let _ = output.write_all(&buffer[..count]).and_then(|()| output.flush());
            }
            line.text()
        });
        let end = ended(&wait, limits);
        if end != End::Itself {
            let _ = qemu.0.kill();
        }
        let _ = qemu.0.wait();
        (end, reader.join().unwrap_or_default())
    })
}

/// Waits until nothing more can be heard, or for as long as the limits allow.
fn ended(heard: &Receiver<()>, limits: Limits) -> End {
    loop {
        let left = limits.whole.saturating_sub(limits.began.elapsed());
        let (wait, end) = match limits.silence {
            Some(silence) if silence < left => (silence, End::Silent),
            _ => (left, End::Late),
        };
        match heard.recv_timeout(wait) {
            Ok(()) if left.is_zero() => return End::Late,
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => return end,
            Err(RecvTimeoutError::Disconnected) => return End::Itself,
        }
    }
}

/// The last line of a stream that has anything in it, whether or not the line has ended: libtest prints the name of a
/// test before it runs it.
#[derive(Default)]
struct LastLine {
    whole: Vec<u8>,
    begun: Vec<u8>,
}

impl LastLine {
    /// More of a line is not kept.
    const LONGEST: usize = 400;

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' if self.begun.trim_ascii().is_empty() => self.begun.clear(),
                b'\n' => self.whole = std::mem::take(&mut self.begun),
                _ if self.begun.len() < Self::LONGEST => self.begun.push(*byte),
                _ => {}
            }
        }
    }

    fn text(&self) -> String {
        let line = if self.begun.trim_ascii().is_empty() { &self.whole } else { &self.begun };
        String::from_utf8_lossy(line).trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::{End, LastLine, Limits, ended};
    use std::{
        sync::mpsc,
        time::{Duration, Instant},
    };

    const LONG: Duration = Duration::from_secs(3600);

    fn limits(whole: Duration, silence: Option<Duration>) -> Limits {
        Limits { began: Instant::now(), whole, silence }
    }

    #[test]
    fn silence_ends_a_run_and_words_do_not() {
        let (heard, wait) = mpsc::channel();
        (0..3).for_each(|_| heard.send(()).unwrap());
        // All three are taken before the silence begins, however short it may be.
        assert_eq!(ended(&wait, limits(LONG, Some(Duration::from_millis(1)))), End::Silent);
        assert!(wait.try_recv().is_err());
        heard.send(()).unwrap();
        drop(heard);
        assert_eq!(ended(&wait, limits(LONG, Some(LONG / 2))), End::Itself);
    }

    #[test]
    fn the_limit_in_all_holds_with_and_without_a_limit_to_silence() {
        let (heard, wait) = mpsc::channel();
        assert_eq!(ended(&wait, limits(Duration::ZERO, None)), End::Late);
        assert_eq!(ended(&wait, limits(Duration::ZERO, Some(LONG))), End::Late);
        // One who never stops talking.
        (0..3).for_each(|_| heard.send(()).unwrap());
        assert_eq!(ended(&wait, limits(Duration::ZERO, Some(LONG))), End::Late);
    }

    #[test]
    fn the_last_line_need_not_have_ended() {
        let last = |parts: &[&str]| {
            let mut line = LastLine::default();
            parts.iter().for_each(|part| line.add(part.as_bytes()));
            line.text()
        };
        assert_eq!(last(&[]), "");
        assert_eq!(last(&["test a ... ok\n\n \r\n"]), "test a ... ok");
        assert_eq!(last(&["test a ... ok\ntes", "t b ... "]), "test b ...");
        assert_eq!(last(&["x".repeat(5000).as_str(), "\n"]).len(), LastLine::LONGEST);
    }
}
