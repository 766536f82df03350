//! Reader and writer over requests of any shape.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use proptest::prelude::*;

use super::*;
use crate::virtio::queue::testing::Buffer;
use crate::virtio::queue::{Chain, TransferError};

/// A request whose readable bytes are `pieces`, and as many writable bytes in the same pieces.
fn request(pieces: &[Vec<u8>]) -> (Driver, Chain, Vec<Buffer>) {
    let (mut driver, mut queue) = pair(64);
    let mut buffers: Vec<Buffer> = pieces.iter().map(|p| driver.readable(p)).collect();
    let writable: Vec<Buffer> = pieces.iter().map(|p| driver.writable(p.len() as u32)).collect();
    buffers.extend(&writable);
    driver.add_indirect(&buffers);
    driver.publish();
    let chain = queue.pop().unwrap().unwrap();
    (driver, chain, writable)
}

fn written(driver: &Driver, buffers: &[Buffer]) -> Vec<u8> {
    buffers.iter().flat_map(|b| driver.bytes(*b)).collect()
}

fn short(r: Result<impl Sized, TransferError>) -> bool {
    matches!(r, Err(TransferError::Short { .. }))
}

proptest! {
    #[test]
    fn any_fragmentation_reads_and_writes_the_same_bytes(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..12),
        steps in prop::collection::vec(0usize..50, 1..20),
    ) {
        let all = pieces.concat();
        let (driver, chain, buffers) = request(&pieces);
        let mem = driver.memory();
        let (mut reader, mut writer) = (chain.reader(mem), chain.writer(mem));
        let mut got = Vec::new();
        for step in steps.into_iter().chain([all.len()]) {
            let step = step.min(reader.remaining());
            let mut buf = vec![0; step];
            reader.read_exact(&mut buf).unwrap();
            writer.write_all(&buf).unwrap();
            got.extend(buf);
        }
        prop_assert_eq!(reader.remaining(), 0);
        prop_assert_eq!(writer.written(), all.len());
        prop_assert!(short(reader.read_exact(&mut [0])) && short(writer.write_all(&[0])));
        prop_assert_eq!(&got, &all);
        prop_assert_eq!(written(&driver, &buffers), all);
    }

    #[test]
    fn a_split_at_any_offset_gives_two_halves(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..12),
        at in 0usize..500,
    ) {
        let all = pieces.concat();
        let at = at % (all.len() + 1);
        let (driver, chain, buffers) = request(&pieces);
        let mut back = chain.reader(driver.memory());
        let mut front = back.split_off_front(at).unwrap();
        prop_assert_eq!((front.remaining(), back.remaining()), (at, all.len() - at));
        let (mut a, mut b) = (vec![0; at], vec![0; all.len() - at]);
        // The back first, as with a header that is written last.
        back.read_exact(&mut b).unwrap();
        front.read_exact(&mut a).unwrap();
        prop_assert_eq!([&a[..], &b[..]].concat(), all.clone());
        let mut back = chain.writer(driver.memory());
        let mut front = back.split_off_front(at).unwrap();
        back.write_all(&b).unwrap();
        front.write_all(&a).unwrap();
        prop_assert!(short(front.write_all(&[0])), "a front half may not run into the back");
        prop_assert_eq!(written(&driver, &buffers), all);
    }

    #[test]
    fn segments_cover_exactly_what_was_asked_for(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..12),
        skip in 0usize..100,
        max in 0usize..500,
    ) {
        let (driver, chain, _) = request(&pieces);
        let mut reader = chain.reader(driver.memory());
        let skipped = reader.skip(skip);
        let segments = reader.segments(max);
        let len: usize = segments.iter().map(|s| s.1 as usize).sum();
        prop_assert_eq!(len, reader.remaining().min(max));
        prop_assert!(segments.iter().all(|s| s.1 > 0));
        let all = pieces.concat();
        let mut got = Vec::new();
        for (gpa, len) in segments {
            let mut piece = vec![0; len as usize];
            driver.memory().read(gpa, &mut piece).unwrap();
            got.extend(piece);
        }
        prop_assert_eq!(&got[..], &all[skipped..skipped + len]);
    }
}

#[test]
fn bytes_go_to_and_from_a_socket_without_a_copy() {
    let pieces = [b"hello ".to_vec(), b"wide ".to_vec(), b"world".to_vec()];
    let (driver, chain, buffers) = request(&pieces);
    let mem = driver.memory();
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut reader = chain.reader(mem);
    reader.skip(2);
    assert_eq!(reader.write_to(&mut ours, 6).unwrap(), 6);
    assert_eq!(reader.write_to(&mut ours, usize::MAX).unwrap(), 8);
    assert_eq!(reader.write_to(&mut ours, usize::MAX).unwrap(), 0);
    let mut got = [0; 14];
    theirs.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"llo wide world");

    let mut writer = chain.writer(mem);
    let none = writer.read_from(&mut ours, 100);
    assert!(
        matches!(none, Err(TransferError::Io { source }) if source.kind() == std::io::ErrorKind::WouldBlock)
    );
    theirs.write_all(b"abcdefgh").unwrap();
    assert_eq!(writer.read_from(&mut ours, 100).unwrap(), 8, "short: there is no more");
    drop(theirs);
    assert_eq!(writer.read_from(&mut ours, 100).unwrap(), 0, "end of file");
    assert_eq!(writer.written(), 8);
    assert_eq!(&written(&driver, &buffers)[..8], b"abcdefgh");
    assert_eq!(writer.advance(100), 8);
    assert_eq!(writer.written(), 16);
}

#[test]
fn a_page_that_turns_private_under_a_request_is_an_error_of_that_access() {
    let (mut driver, mut queue) = pair(8);
    let buffers = [Buffer::Readable(0x8ff0, 0x20), Buffer::Writable(0x9000, 0x10)];
    let head = driver.add(&buffers);
    driver.publish();
    let chain = queue.pop().unwrap().unwrap();
    let mem = driver.memory();
    make_private(mem, 0x9000);
    let memory = |r: Result<(), TransferError>| assert!(matches!(r, Err(TransferError::Memory { .. })));
    memory(chain.reader(mem).read_exact(&mut [0; 0x20]));
    memory(chain.writer(mem).write_all(&[0; 4]));
    memory(chain.reader(mem).write_to(&mut UnixStream::pair().unwrap().0, 99).map(drop));
    chain.reader(mem).read_exact(&mut [0; 0x10]).unwrap();
    queue.push_used(head, 0).unwrap();
}
