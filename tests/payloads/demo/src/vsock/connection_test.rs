use super::*;
use crate::testing::{CID, answer};

fn open() -> (Connection, Header) {
    let mut connection = Connection::new(CID, 50_000, 4226);
    let request = connection.header(Operation::REQUEST, 0, 0);
    assert_eq!(connection.is_open(), Ok(false));
    tell(&mut connection, &request, Operation::RESPONSE, |_| ()).unwrap();
    assert_eq!(connection.is_open(), Ok(true));
    (connection, request)
}

fn tell(
    connection: &mut Connection,
    to: &Header,
    operation: Operation,
    change: impl Fn(&mut Header),
) -> Result<(), HostError> {
    let (mut header, _) = answer(to, operation, &[]);
    change(&mut header);
    connection.on_packet(&header, &[])
}

fn data(connection: &mut Connection, to: &Header, bytes: &[u8]) -> Result<(), HostError> {
    let (header, bytes) = answer(to, Operation::DATA, bytes);
    connection.on_packet(&header, &bytes)
}

#[test]
fn credit_is_what_the_host_has_room_for() {
    let (mut connection, request) = open();
    assert_eq!(connection.credit(), Ok(65536));
    connection.on_sent(60_000);
    assert_eq!(connection.credit(), Ok(5536));
    tell(&mut connection, &request, Operation::CREDIT_UPDATE, |h| (h.buffer, h.consumed) = (100, 60_000))
        .unwrap();
    assert_eq!(connection.credit(), Ok(100));
    tell(&mut connection, &request, Operation::CREDIT_UPDATE, |h| (h.buffer, h.consumed) = (0, 60_000))
        .unwrap();
    assert_eq!(connection.credit(), Ok(0));
}

#[test]
fn credit_counters_wrap() {
    let (mut connection, request) = open();
    for _ in 0..100_000 {
        connection.on_sent(65_536);
        let sent = connection.sent;
        tell(&mut connection, &request, Operation::CREDIT_UPDATE, |h| h.consumed = sent).unwrap();
        assert_eq!(connection.credit(), Ok(65_536));
    }
}

#[test]
fn a_host_that_miscounts_is_caught() {
    let (mut connection, request) = open();
    connection.on_sent(10);
    let update = |c: &mut Connection, n| tell(c, &request, Operation::CREDIT_UPDATE, |h| h.consumed = n);
    assert!(update(&mut connection, 11).is_err());
    assert!(update(&mut connection, u32::MAX).is_err());
    update(&mut connection, 5).unwrap();
    assert!(update(&mut connection, 4).is_err());
}

#[test]
fn data_beyond_our_credit_is_refused_and_room_is_told() {
    let (mut connection, request) = open();
    for _ in 0..16 {
        data(&mut connection, &request, &[1; 4096]).unwrap();
    }
    assert!(data(&mut connection, &request, &[1]).is_err());
    let mut buffer = [0; 16_383];
    assert_eq!(connection.receive(&mut buffer), Ok(16_383));
    assert_eq!(connection.take_owed(), Owed::default());
    assert_eq!(connection.receive(&mut buffer[..1]), Ok(1));
    assert_eq!(connection.take_owed(), Owed { credit: true, reset: false });
    assert_eq!(connection.header(Operation::CREDIT_UPDATE, 0, 0).consumed, 16_384);
    data(&mut connection, &request, &[1; 4096]).unwrap();
}

#[test]
fn what_came_before_the_end_is_still_received() {
    let (mut connection, request) = open();
    data(&mut connection, &request, b"last").unwrap();
    tell(&mut connection, &request, Operation::SHUTDOWN, |h| h.flags = 2).unwrap();
    assert!(data(&mut connection, &request, b"more").is_err());
    let mut buffer = [0; 8];
    assert_eq!(connection.receive(&mut buffer), Ok(4));
    assert_eq!(connection.receive(&mut buffer), Err(HostError::Closed));
    assert_eq!(connection.credit(), Ok(65536), "our way is still open");
    tell(&mut connection, &request, Operation::SHUTDOWN, |h| h.flags = 1).unwrap();
    assert_eq!(connection.credit(), Err(HostError::Closed));
    assert_eq!(connection.take_owed(), Owed { credit: false, reset: true });
}

#[test]
fn refusal_and_disorder() {
    let mut connection = Connection::new(CID, 50_000, 4226);
    let request = connection.header(Operation::REQUEST, 0, 0);
    for operation in [Operation::DATA, Operation::SHUTDOWN, Operation::CREDIT_UPDATE, Operation(99)] {
        assert!(tell(&mut connection, &request, operation, |_| ()).is_err());
    }
    tell(&mut connection, &request, Operation::RESET, |_| ()).unwrap();
    assert_eq!(connection.is_open(), Err(HostError::Refused));
    let (mut connection, request) = open();
    for operation in [Operation::RESPONSE, Operation::REQUEST, Operation(0), Operation(8)] {
        assert!(tell(&mut connection, &request, operation, |_| ()).is_err());
    }
    let (header, bytes) = answer(&request, Operation::CREDIT_UPDATE, b"x");
    assert!(connection.on_packet(&header, &bytes).is_err());
}

#[test]
fn packets_for_others_are_ignored() {
    let (mut connection, request) = open();
    let changes: [fn(&mut Header); 5] = [
        |h| h.source_cid = 3,
        |h| h.destination_cid = 3,
        |h| h.source_port = 1,
        |h| h.destination_port = 1,
        |h| h.kind = 2,
    ];
    for change in changes {
        tell(&mut connection, &request, Operation::RESET, change).unwrap();
        assert!(!connection.has_ended());
    }
}
