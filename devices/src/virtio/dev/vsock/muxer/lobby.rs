//! Host clients that are no connections yet: they send their line, or wait for the guest's driver.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::super::connections::Timers;
use super::hybrid::{Connect, LINE_LIMIT, LineReader, Progress, Refusal};
use crate::virtio::dev::vsock::spec::SocketType;

/// One client, ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClientId(pub(crate) u64);

/// What a client has said by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Not a whole line.
    More,
    /// Where it wants to be connected to.
    Line(Connect),
    /// Nothing that can be answered with a connection.
    Bad(Refusal),
    /// It is nobody that we know, or has said all that it had to.
    Nothing,
}

#[derive(Debug)]
enum Stage {
    Line(LineReader),
    Held(Connect),
}

#[derive(Debug)]
struct Client {
    fd: OwnedFd,
    kind: SocketType,
    stage: Stage,
    deadline: Option<Instant>,
}

/// The clients, oldest first.
#[derive(Debug)]
pub(crate) struct Lobby {
    clients: BTreeMap<ClientId, Client>,
    timers: Timers<ClientId>,
    next: u64,
}

impl Lobby {
    /// Nobody there.
    pub(crate) fn new() -> Self {
        Lobby { clients: BTreeMap::new(), timers: Timers::new(), next: 0 }
    }

    /// How many clients there are.
    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// A new client, which is to send its line by `deadline`.
    pub(crate) fn admit(&mut self, fd: OwnedFd, kind: SocketType, deadline: Option<Instant>) -> ClientId {
        let id = ClientId(self.next);
        self.next = self.next.wrapping_add(1);
        self.clients.insert(id, Client { fd, kind, stage: Stage::Line(LineReader::new()), deadline });
        self.timers.set(id, deadline);
        id
    }

    /// Every client with its socket.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = (ClientId, &OwnedFd)> {
        self.clients.iter().map(|(id, c)| (*id, &c.fd))
    }

    /// Reads what a client sent, up to the end of its line. The rest stays in the socket.
    pub(crate) fn hear(&mut self, id: ClientId) -> Heard {
        let Some(Client { fd, kind, stage: Stage::Line(reader), .. }) = self.clients.get_mut(&id) else {
            return Heard::Nothing;
        };
        if *kind == SocketType::SEQPACKET {
            return hear_message(fd, reader);
        }
        let mut buffer = [0; LINE_LIMIT];
        loop {
            let Some(room) = buffer.get_mut(..reader.room()) else { return Heard::Bad(Refusal::TooLong) };
            let seen = match rustix::net::recv(&*fd, &mut *room, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
                Ok((n, _)) if n > 0 => n,
                Err(Errno::AGAIN) => return Heard::More,
                Err(Errno::INTR) => continue,
                Ok(_) | Err(_) => return Heard::Bad(Refusal::Malformed),
            };
            let (taken, progress) = reader.feed(room.get(..seen).unwrap_or_default());
            let Some(room) = buffer.get_mut(..taken) else { return Heard::Bad(Refusal::TooLong) };
            // Nobody else reads this socket: what was seen is still there.
            if !matches!(rustix::net::recv(&*fd, room, RecvFlags::DONTWAIT), Ok((n, _)) if n == taken) {
                return Heard::Bad(Refusal::Malformed);
            }
            match progress {
                Progress::More => {}
                Progress::Line(connect) => return Heard::Line(connect),
                Progress::Bad(why) => return Heard::Bad(why),
            }
        }
    }

    /// Keeps a client whose line was good until the guest's driver is there, or `deadline`.
    pub(crate) fn hold(&mut self, id: ClientId, connect: Connect, deadline: Option<Instant>) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.stage = Stage::Held(connect);
            client.deadline = deadline;
            self.timers.set(id, deadline);
        }
    }

    /// Those who wait for the driver, what they want, and until when.
    pub(crate) fn held(&self) -> Vec<(ClientId, Connect, Option<Instant>)> {
        let held = |(id, c): (&ClientId, &Client)| match c.stage {
            Stage::Held(connect) => Some((*id, connect, c.deadline)),
            Stage::Line(_) => None,
        };
        self.clients.iter().filter_map(held).collect()
    }

    /// Takes a client out.
    pub(crate) fn remove(&mut self, id: ClientId) -> Option<(OwnedFd, SocketType)> {
        self.timers.set(id, None);
        self.clients.remove(&id).map(|c| (c.fd, c.kind))
    }

    /// The earliest deadline.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Takes out one client whose time is up, and says what to tell it.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<(OwnedFd, Refusal)> {
        let client = self.clients.remove(&self.timers.pop(now)?)?;
        let why = match client.stage {
            Stage::Line(_) => Refusal::SlowLine,
            Stage::Held(_) => Refusal::NoDriver,
        };
        Some((client.fd, why))
    }
}

/// Where messages are kept apart, the line is one, and nothing else is in it.
fn hear_message(fd: &OwnedFd, reader: &mut LineReader) -> Heard {
    let mut buffer = [0; LINE_LIMIT];
    let (seen, whole) = match rustix::net::recv(fd, &mut buffer, RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
        Ok(lengths) => lengths,
        Err(Errno::AGAIN | Errno::INTR) => return Heard::More,
        Err(_) => return Heard::Bad(Refusal::Malformed),
    };
    if whole > seen {
        return Heard::Bad(Refusal::TooLong);
    }
    match reader.feed(buffer.get(..seen).unwrap_or_default()) {
        (taken, Progress::Line(connect)) if taken == seen => Heard::Line(connect),
        (_, Progress::Bad(why)) => Heard::Bad(why),
        _ => Heard::Bad(Refusal::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    fn client(lobby: &mut Lobby) -> (ClientId, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (lobby.admit(ours.into(), SocketType::STREAM, None), theirs)
    }

    #[test]
    fn a_line_in_pieces_with_data_behind_it() {
        let mut lobby = Lobby::new();
        let (id, mut theirs) = client(&mut lobby);
        assert_eq!(lobby.hear(id), Heard::More);
        for b in b"CONNECT 7" {
            theirs.write_all(&[*b]).unwrap();
            assert_eq!(lobby.hear(id), Heard::More);
        }
        theirs.write_all(b"7\nall of this\nis data").unwrap();
        drop(theirs);
        let connect = Connect { port: 77, wait: None };
        assert_eq!(lobby.hear(id), Heard::Line(connect));
        lobby.hold(id, connect, None);
        assert_eq!(lobby.hear(id), Heard::Nothing);
        let mut rest = String::new();
        UnixStream::from(lobby.remove(id).unwrap().0).read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "all of this\nis data");
        assert_eq!(lobby.len(), 0);
    }

    #[test]
    fn the_end_before_the_newline_and_floods_are_refused() {
        let mut lobby = Lobby::new();
        let (id, mut theirs) = client(&mut lobby);
        theirs.write_all(b"CONNECT 7").unwrap();
        drop(theirs);
        assert_eq!(lobby.hear(id), Heard::Bad(Refusal::Malformed));
        let (id, mut theirs) = client(&mut lobby);
        theirs.write_all(&[b'x'; 10_000]).unwrap();
        assert_eq!(lobby.hear(id), Heard::Bad(Refusal::TooLong));
    }

    #[test]
    fn time_runs_out_for_each_stage() {
        let mut lobby = Lobby::new();
        let (slow, _a) = client(&mut lobby);
        let (held, _b) = client(&mut lobby);
        let t = Instant::now();
        let at = |s| t.checked_add(Duration::from_secs(s));
        let connect = Connect { port: 1, wait: None };
        lobby.timers.set(slow, at(2));
        lobby.hold(held, connect, at(1));
        assert_eq!(lobby.held(), [(held, connect, at(1))]);
        assert_eq!(lobby.next_deadline(), at(1));
        assert!(lobby.expire(t).is_none());
        let later = at(5).unwrap();
        assert_eq!(lobby.expire(later).unwrap().1, Refusal::NoDriver);
        assert_eq!(lobby.expire(later).unwrap().1, Refusal::SlowLine);
        assert!(lobby.expire(later).is_none());
        assert_eq!(lobby.len(), 0);
    }
}
