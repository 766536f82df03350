use super::super::packet::HOST_CID;
use super::*;
use crate::testing::{CID, Conduct, HostRef, answer};

type TestSocket = Socket<HostRef, HostRef, (HostRef, u32)>;

fn socket(conduct: Conduct) -> (HostRef, TestSocket) {
    let host = HostRef::new(conduct);
    let socket = Socket::open(host.clone(), host.clone(), (host.clone(), 0), 50_000, 4226).unwrap();
    (host, socket)
}

/// A host that accepts, sends back what it gets, and ends when asked to.
fn echo() -> Conduct {
    let mut consumed = 0u32;
    Box::new(move |header, data| {
        consumed = consumed.wrapping_add(data.len() as u32);
        let reply = match header.operation {
            Operation::REQUEST => answer(header, Operation::RESPONSE, &[]),
            Operation::DATA => answer(header, Operation::DATA, data),
            Operation::SHUTDOWN => answer(header, Operation::RESET, &[]),
            _ => return Vec::new(),
        };
        vec![(Header { consumed, ..reply.0 }, reply.1)]
    })
}

#[test]
fn the_device_comes_up_and_goes_down() {
    let (host, mut socket) = socket(echo());
    let features = host.host().features();
    let status = host.host().status();
    assert_eq!((features, status), (1 | 3 << 32, 0x0f));
    assert_eq!((socket.context(), socket.features()), (CID, 1 | 3 << 32));
    socket.connect().unwrap();
    socket.close().unwrap();
    assert_eq!(host.host().status(), 0);
    let operations: Vec<_> = host.host().seen.iter().map(|(header, _)| header.operation).collect();
    assert_eq!(operations, [Operation::REQUEST, Operation::SHUTDOWN]);
}

#[test]
fn a_long_stream_comes_back_whole() {
    let (host, mut socket) = socket(echo());
    socket.connect().unwrap();
    let sent: Vec<u8> = (0..300_000u32).map(|i| (i * 7) as u8).collect();
    let mut got = Vec::new();
    let mut buffer = [0; 1000];
    for (round, piece) in sent.chunks(30_000).enumerate() {
        socket.send(piece).unwrap();
        while got.len() < (round + 1) * 30_000 {
            let count = socket.receive(&mut buffer).map_err(|_| socket.failure()).unwrap();
            got.extend_from_slice(&buffer[..count]);
        }
    }
    assert!(got == sent);
    assert!(
        host.host()
            .seen
            .iter()
            .all(|(header, _)| header.source_cid == CID && header.destination_cid == HOST_CID)
    );
}

#[test]
fn refusal_and_silence_end() {
    let (_, mut socket) = socket(Box::new(|header, _| vec![answer(header, Operation::RESET, &[])]));
    assert_eq!(socket.connect(), Err(HostError::Refused));
    let (_, mut silent) = self::socket(Box::new(|_, _| Vec::new()));
    assert_eq!(silent.connect(), Err(HostError::TimedOut("no answer to our connection request")));
}

#[test]
fn a_host_without_credit_does_not_hold_us_for_ever() {
    let (_, mut socket) = socket(Box::new(|header, _| match header.operation {
        Operation::REQUEST => vec![answer(header, Operation::RESPONSE, &[])],
        _ => Vec::new(),
    }));
    socket.connect().unwrap();
    assert_eq!(socket.send(&[0; 65_537]), Err(TransportError::TimedOut));
    assert_eq!(socket.failure(), Some(HostError::TimedOut("the host takes no data")));
    assert_eq!(socket.receive(&mut [0]), Err(TransportError::TimedOut));
}

#[test]
fn a_host_that_asks_for_credit_without_end_gains_nothing() {
    let (host, mut socket) = socket(Box::new(|header, _| match header.operation {
        Operation::REQUEST => vec![answer(header, Operation::RESPONSE, &[])],
        Operation::DATA | Operation::CREDIT_UPDATE => vec![answer(header, Operation::CREDIT_REQUEST, &[])],
        _ => Vec::new(),
    }));
    socket.connect().unwrap();
    socket.send(&[1]).unwrap();
    assert_eq!(socket.receive(&mut [0]), Err(TransportError::TimedOut));
    assert!(host.host().seen.len() < 1000);
}

#[test]
fn a_host_that_trickles_runs_out_of_time() {
    // A byte for each of ours, and only after some waiting.
    let (host, mut socket) = socket(Box::new(|header, _| match header.operation {
        Operation::REQUEST => vec![answer(header, Operation::RESPONSE, &[])],
        Operation::DATA => vec![answer(header, Operation::DATA, b"x")],
        _ => Vec::new(),
    }));
    socket.connect().unwrap();
    let mut got = 0;
    host.host().lazy = true;
    while socket.send(b"y").and_then(|()| socket.receive(&mut [0])).is_ok() {
        got += 1;
    }
    assert_eq!(socket.failure(), Some(HostError::TimedOut("the host sends no data")));
    assert!((2..1000).contains(&got), "{got}");
}

#[test]
fn lies_of_the_device_are_noticed() {
    let lies: [fn(&mut u32, &mut u32); 4] = [
        |id, _| *id = 16,
        |_, len| *len = 4097,
        |_, len| *len = 43 * u32::from(*len > 0),
        |_, len| *len += 1,
    ];
    for lie in lies {
        let (host, mut socket) = socket(echo());
        host.host().corrupt = Some(lie);
        let error = socket.connect().unwrap_err();
        assert!(matches!(error, HostError::Ring(_) | HostError::Packet(_)), "{error}");
    }
}

#[test]
fn both_ways_closed_by_the_host_is_answered_with_a_reset() {
    let (host, mut socket) = socket(Box::new(|header, _| match header.operation {
        Operation::REQUEST => {
            let (shutdown, data) = answer(header, Operation::SHUTDOWN, &[]);
            vec![answer(header, Operation::RESPONSE, &[]), (Header { flags: 3, ..shutdown }, data)]
        }
        _ => Vec::new(),
    }));
    socket.connect().ok();
    assert_eq!(socket.receive(&mut [0]), Err(TransportError::Closed));
    assert_eq!(host.host().seen.last().unwrap().0.operation, Operation::RESET);
    socket.close().unwrap();
}
