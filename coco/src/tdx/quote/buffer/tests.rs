use proptest::prelude::*;

use super::*;
use crate::memory::{Converter, Target};

const RAM: u64 = 0x40_000;
const GPA: u64 = 0x3000;

fn header(version: u64, in_len: u32) -> Header {
    Header { version, status: 0, in_len, out_len: 0 }
}

/// Memory with a good buffer of `size` bytes that holds a report of 1024.
fn memory() -> SharedMemory {
    let memory = SharedMemory::for_test(RAM);
    memory.write_obj(GPA, &header(1, 1024)).unwrap();
    memory.write(GPA + HEADER, &[0xaa; 1024]).unwrap();
    memory
}

fn at_gpa(memory: &SharedMemory) -> Header {
    memory.read_obj(GPA).unwrap()
}

#[test]
fn a_good_buffer_gives_its_report() {
    let (buffer, report) = QuoteBuffer::take(&memory(), GPA, 0x2000).unwrap();
    assert_eq!(report, [0xaa; 1024]);
    assert_eq!(buffer.room(), 0x2000 - 24);
}

#[test]
fn every_bad_buffer_has_its_status() {
    let invalid = TdvmcallStatus::INVALID_OPERAND;
    let unaligned = TdvmcallStatus::ALIGN_ERROR;
    let memory = memory();
    let refusal = |gpa, size| QuoteBuffer::take(&memory, gpa, size).unwrap_err();
    assert_eq!(refusal(GPA, 0), invalid);
    assert_eq!(refusal(GPA + 1, 0), invalid);
    assert_eq!(refusal(GPA + 8, 0x1000), unaligned);
    assert_eq!(refusal(GPA, 0x1001), unaligned);
    assert_eq!(refusal(GPA, MAX_BUFFER + 0x1000), invalid);
    assert_eq!(refusal(RAM, 0x1000), invalid);
    assert_eq!(refusal(RAM - 0x1000, 0x2000), invalid);
    assert_eq!(refusal(!0xfff, 0x2000), invalid);
    assert_eq!(refusal(GPA, !0xfff), invalid);
    for bad in [header(0, 1024), header(2, 1024), header(1, 0x1000 - 23), header(1, u32::MAX)] {
        memory.write_obj(GPA, &bad).unwrap();
        assert_eq!(refusal(GPA, 0x1000), invalid, "{bad:?}");
    }
    memory.write_obj(GPA, &header(1, 0x1000 - 24)).unwrap();
    assert!(QuoteBuffer::take(&memory, GPA, 0x1000).is_ok());
    assert!(QuoteBuffer::take(&memory, GPA, MAX_BUFFER).is_ok());
}

#[test]
fn a_buffer_with_a_private_page_is_refused() {
    let memory = memory();
    Converter::plain(memory.clone()).convert(GPA + 0x1000, 1, Target::Private).unwrap();
    assert!(QuoteBuffer::take(&memory, GPA, 0x1000).is_ok());
    assert_eq!(QuoteBuffer::take(&memory, GPA, 0x2000), Err(TdvmcallStatus::INVALID_OPERAND));
}

#[test]
fn the_quote_is_written_with_its_length_and_status() {
    let memory = memory();
    let (buffer, _) = QuoteBuffer::take(&memory, GPA, 0x1000).unwrap();
    buffer.mark(&memory, BufferStatus::IN_FLIGHT).unwrap();
    assert_eq!((at_gpa(&memory).status, at_gpa(&memory).out_len), (u64::MAX, 0));
    buffer.finish(&memory, b"the quote").unwrap();
    let header = at_gpa(&memory);
    assert_eq!((header.version, header.status, header.in_len, header.out_len), (1, 0, 1024, 9));
    let mut quote = [0; 9];
    memory.read(GPA + 24, &mut quote).unwrap();
    assert_eq!(&quote, b"the quote");
}

#[test]
fn a_quote_that_does_not_fit_is_an_error_and_writes_nothing_beyond() {
    let memory = memory();
    memory.write(GPA + 0x1000, &[0x55; 64]).unwrap();
    let (buffer, _) = QuoteBuffer::take(&memory, GPA, 0x1000).unwrap();
    let error = buffer.finish(&memory, &vec![1; 0x1000 - 23]).unwrap_err();
    assert!(matches!(error, FinishError::Room { .. }));
    assert_eq!(at_gpa(&memory).status, 1 << 63);
    buffer.finish(&memory, &vec![1; 0x1000 - 24]).unwrap();
    assert_eq!(at_gpa(&memory).out_len, 0x1000 - 24);
    let mut beyond = [0; 64];
    memory.read(GPA + 0x1000, &mut beyond).unwrap();
    assert_eq!(beyond, [0x55; 64]);
}

#[test]
fn a_buffer_that_turned_private_meanwhile_is_left_alone() {
    let memory = memory();
    let converter = Converter::plain(memory.clone());
    let (buffer, _) = QuoteBuffer::take(&memory, GPA, 0x2000).unwrap();
    // Its second page: not even the first is written then.
    converter.convert(GPA + 0x1000, 1, Target::Private).unwrap();
    let error = buffer.finish(&memory, b"the quote").unwrap_err();
    assert!(matches!(error, FinishError::Gone { source: AccessError::Private { .. } }), "{error}");
    assert_eq!((at_gpa(&memory).status, at_gpa(&memory).out_len), (0, 0));
}

proptest! {
    /// Whatever the guest hands over and whatever comes back: no panic, and no byte outside the buffer
    /// that was checked changes.
    #[test]
    fn nothing_outside_the_buffer_is_ever_written(
        gpa in prop_oneof![(0u64..0x48).prop_map(|n| n << 12), any::<u64>()],
        size in prop_oneof![(0u64..0x30).prop_map(|n| n << 12), any::<u64>()],
        version in 0u64..3, in_len: u32, quote_len in 0usize..0x30_000, private in 0u64..0x40,
    ) {
        let memory = SharedMemory::for_test(RAM);
        let _ = memory.write_obj(gpa, &header(version, in_len % 0x3000));
        Converter::plain(memory.clone()).convert(private << 12, 1, Target::Private).unwrap();
        let before = snapshot(&memory, private);
        let Ok((buffer, _)) = QuoteBuffer::take(&memory, gpa, size) else {
            prop_assert_eq!(before, snapshot(&memory, private));
            return Ok(());
        };
        let _ = buffer.finish(&memory, &vec![0xcc; quote_len]);
        let after = snapshot(&memory, private);
        let (start, end) = (gpa as usize, (gpa + size) as usize);
        prop_assert!(before[..start] == after[..start], "something before the buffer");
        prop_assert!(before[end..] == after[end..], "something after the buffer");
    }
}

/// All memory but the private page, in one piece.
fn snapshot(memory: &SharedMemory, private: u64) -> Vec<u8> {
    let mut all = vec![0; RAM as usize];
    for (n, page) in all.chunks_mut(0x1000).enumerate() {
        if n as u64 != private {
            memory.read((n as u64) << 12, page).unwrap();
        }
    }
    all
}
