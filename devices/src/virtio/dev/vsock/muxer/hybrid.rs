//! What a host client says on our socket before its bytes are the guest's: one line each way.
//!
//! ```text
//! client:  CONNECT <port>\n             or  CONNECT <port> <milliseconds>\n
//! device:  OK <host port>\n             once the guest accepted
//!          ERR <reason>\n               otherwise, then the end of the stream
//! ```
//!
//! The reason is one word: `malformed`, `bad-number`, `too-long`, `no-line` (in time), `no-driver` (in the
//! guest, in time), `timeout` (no answer from the guest), `refused` (by the guest), `limit` (of
//! connections), `reset` (of the device).
//!
//! The milliseconds are how long the client wants to wait in all, for a guest that is still booting.
//! Pure: bytes go in, what they mean comes out. The line ends where its newline is; what follows it is
//! data for the guest and is left alone.

use std::fmt;
use std::time::Duration;

use super::super::spec::ANY_PORT;

/// Bytes of the longest line, its newline included.
pub const LINE_LIMIT: usize = 64;

/// Longest wait that a client may ask for.
pub const WAIT_LIMIT: Duration = Duration::from_secs(600);

/// What a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connect {
    /// The guest's port.
    pub port: u32,
    /// How long to wait for the guest to accept; the device's own limits if `None`.
    pub wait: Option<Duration>,
}

/// Why a client does not get its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The line is not `CONNECT <port>`.
    Malformed,
    /// The port or the wait is not a number that can be one.
    BadNumber,
    /// More than [`LINE_LIMIT`] bytes and no newline.
    TooLong,
    /// No whole line in time.
    SlowLine,
    /// The guest's driver was not there in time.
    NoDriver,
    /// The guest did not answer in time.
    Timeout,
    /// Nobody listens on that port of the guest, or the guest will not have it.
    Refused,
    /// The device has as many connections as it may.
    Limit,
    /// The guest's device was reset, or is going away.
    Reset,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Malformed => "malformed",
            Refusal::BadNumber => "bad-number",
            Refusal::TooLong => "too-long",
            Refusal::SlowLine => "no-line",
            Refusal::NoDriver => "no-driver",
            Refusal::Timeout => "timeout",
            Refusal::Refused => "refused",
            Refusal::Limit => "limit",
            Refusal::Reset => "reset",
        })
    }
}

/// What the bytes so far come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The newline is not there yet.
    More,
    /// A whole line, and a good one.
    Line(Connect),
    /// Never going to be a good line.
    Bad(Refusal),
}

/// Collects the line, however it is cut up.
#[derive(Debug, Clone)]
pub struct LineReader {
    line: Vec<u8>,
}

impl LineReader {
    /// Nothing read yet.
    pub fn new() -> Self {
        LineReader { line: Vec::with_capacity(LINE_LIMIT) }
    }

    /// How many more bytes may be looked at.
    pub fn room(&self) -> usize {
        LINE_LIMIT.saturating_sub(self.line.len())
    }

    /// Takes bytes up to the newline; says how many it took and what they come to.
    ///
    /// Bytes after the newline are not taken.
    pub fn feed(&mut self, bytes: &[u8]) -> (usize, Progress) {
        for (&byte, taken) in bytes.iter().zip(1usize..) {
            if byte == b'\n' {
                return (taken, parse(&self.line));
            }
            self.line.push(byte);
            if self.line.len() >= LINE_LIMIT {
                return (taken, Progress::Bad(Refusal::TooLong));
            }
        }
        (bytes.len(), Progress::More)
    }
}

impl Default for LineReader {
    fn default() -> Self {
        LineReader::new()
    }
}

/// What the device answers when the guest accepted.
pub fn ok(host_port: u32) -> String {
    format!("OK {host_port}\n")
}

/// What the device answers when there will be no connection.
pub fn err(refusal: Refusal) -> String {
    format!("ERR {refusal}\n")
}

fn parse(line: &[u8]) -> Progress {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = line.split(|&b| b == b' ');
    if words.next() != Some(b"CONNECT") {
        return Progress::Bad(Refusal::Malformed);
    }
    let (port, wait, rest) = (words.next(), words.next(), words.next());
    let Some(port) = port.filter(|_| rest.is_none()) else { return Progress::Bad(Refusal::Malformed) };
    let Some(port) = number(port).filter(|&p| p != ANY_PORT) else {
        return Progress::Bad(Refusal::BadNumber);
    };
    let wait = match wait.map(number) {
        None => None,
        Some(Some(ms)) => Some(Duration::from_millis(ms.into()).min(WAIT_LIMIT)),
        Some(None) => return Progress::Bad(Refusal::BadNumber),
    };
    Progress::Line(Connect { port, wait })
}

/// Decimal digits and nothing else (`str::parse` would take a plus sign).
fn number(word: &[u8]) -> Option<u32> {
    if word.is_empty() || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(word).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(line: &[u8]) -> Progress {
        LineReader::new().feed(line).1
    }

    fn to(port: u32) -> Progress {
        Progress::Line(Connect { port, wait: None })
    }

    #[test]
    fn a_line_in_one_piece() {
        assert_eq!(whole(b"CONNECT 1024\n"), to(1024));
        assert_eq!(whole(b"CONNECT 0\r\n"), to(0));
        assert_eq!(whole(b"CONNECT 4294967294\n"), to(u32::MAX - 1));
        let wait = Some(Duration::from_millis(1500));
        assert_eq!(whole(b"CONNECT 7 1500\n"), Progress::Line(Connect { port: 7, wait }));
        assert_eq!(
            whole(b"CONNECT 7 4294967295\n"),
            Progress::Line(Connect { port: 7, wait: Some(WAIT_LIMIT) })
        );
    }

    #[test]
    fn a_line_byte_by_byte() {
        let mut reader = LineReader::new();
        let line = b"CONNECT 52\n";
        for b in &line[..line.len() - 1] {
            assert_eq!(reader.feed(&[*b]), (1, Progress::More));
        }
        assert_eq!(reader.feed(b"\n"), (1, to(52)));
    }

    #[test]
    fn what_follows_the_newline_is_not_taken() {
        assert_eq!(LineReader::new().feed(b"CONNECT 52\nhello\n"), (11, to(52)));
    }

    #[test]
    fn bad_lines_say_why() {
        for bad in [
            &b"\n"[..],
            b"connect 1\n",
            b"CONNECT\n",
            b"CONNECT1\n",
            b"CONNECT 1 2 3\n",
            b"OK 1\n",
            b"\xff\xfe\n",
            b"\0\n",
        ] {
            assert_eq!(whole(bad), Progress::Bad(Refusal::Malformed), "{bad:?}");
        }
        for bad in [
            &b"CONNECT \n"[..],
            b"CONNECT x\n",
            b"CONNECT +1\n",
            b"CONNECT -1\n",
            b"CONNECT  1\n",
            b"CONNECT 1 \n",
            b"CONNECT 4294967295\n",
            b"CONNECT 4294967296\n",
            b"CONNECT 99999999999999999999999\n",
        ] {
            assert_eq!(whole(bad), Progress::Bad(Refusal::BadNumber), "{bad:?}");
        }
    }

    #[test]
    fn sixty_four_bytes_are_a_line_and_sixty_five_are_not() {
        let mut line = format!("CONNECT {:055}\n", 9);
        assert_eq!(line.len(), LINE_LIMIT);
        assert_eq!(whole(line.as_bytes()), to(9));
        line.insert(8, '0');
        assert_eq!(whole(line.as_bytes()), Progress::Bad(Refusal::TooLong));
        assert_eq!(whole(&[b'C'; 1000]), Progress::Bad(Refusal::TooLong));
        assert_eq!(LineReader::new().room(), LINE_LIMIT);
    }

    #[test]
    fn answers_are_one_word() {
        assert_eq!(ok(1_073_741_824), "OK 1073741824\n");
        assert_eq!(err(Refusal::Refused), "ERR refused\n");
        assert_eq!(err(Refusal::Timeout), "ERR timeout\n");
        for refusal in [
            Refusal::Malformed,
            Refusal::BadNumber,
            Refusal::TooLong,
            Refusal::SlowLine,
            Refusal::NoDriver,
            Refusal::Limit,
            Refusal::Reset,
        ] {
            assert_eq!(err(refusal).split_whitespace().count(), 2, "{refusal}");
        }
    }
}
