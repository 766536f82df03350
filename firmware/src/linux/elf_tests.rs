use super::*;
use crate::test_files::{ElfBuilder, image_of};
use proptest::prelude::*;

fn parse(bytes: &[u8]) -> Result<Elf, ElfError> {
    Elf::parse(&image_of(bytes))
}

fn sample() -> Vec<u8> {
    ElfBuilder::new(0x20_0000)
        .load(0x20_0000, &[0x90; 100], 0x1800, true)
        .load(0x20_2000, b"data", 4, false)
        .note(b"Xen\0", 18, &0x20_0010u32.to_le_bytes())
        .build()
}

#[test]
fn segments_and_notes_are_found() {
    let image = image_of(&sample());
    let elf = Elf::parse(&image).unwrap();
    assert_eq!(elf.entry, 0x20_0000);
    assert_eq!(elf.segments.len(), 2);
    assert_eq!((elf.segments[0].file_size, elf.segments[0].memory_size), (100, 0x1800));
    assert!(elf.segments[0].executable && !elf.segments[1].executable);
    assert_eq!(elf.note(&image, b"Xen", 18).unwrap().unwrap(), 0x20_0010u32.to_le_bytes());
    assert_eq!(elf.note(&image, b"Xen", 17).unwrap(), None);
    assert_eq!(elf.note(&image, b"GNU", 18).unwrap(), None);
}

#[test]
fn what_cannot_be_loaded_is_named() {
    let good = sample();
    let with = |at: usize, bytes: &[u8]| {
        let mut elf = good.clone();
        elf[at..at + bytes.len()].copy_from_slice(bytes);
        parse(&elf).unwrap_err()
    };
    assert!(matches!(with(0, b"MZ"), ElfError::Magic));
    assert!(matches!(with(4, &[1]), ElfError::Machine { class: 1, .. }));
    assert!(matches!(with(18, &[183]), ElfError::Machine { machine: 183, .. }));
    assert!(matches!(with(16, &[3]), ElfError::Type { kind: 3 }));
    assert!(matches!(with(54, &[32]), ElfError::ProgramHeaders { .. }));
    assert!(matches!(with(56, &[0, 0]), ElfError::ProgramHeaders { count: 0, .. }));
    assert!(matches!(with(56, &[0xff, 0xff]), ElfError::ProgramHeaders { .. }));
    assert!(matches!(with(32, &[0xff; 8]), ElfError::File { .. }));
    assert!(matches!(with(64, &[3]), ElfError::Dynamic));
    // p_offset, p_filesz, p_memsz of the first segment.
    assert!(matches!(with(64 + 8, &[0xff; 8]), ElfError::Segment { index: 0, .. }));
    assert!(matches!(with(64 + 32, &[0xff; 8]), ElfError::Segment { index: 0, .. }));
    assert!(matches!(with(64 + 40, &[1, 0]), ElfError::Segment { index: 0, .. }));
    assert!(matches!(with(64 + 40, &[0xff; 8]), ElfError::Segment { index: 0, .. }));
    assert!(matches!(parse(&good[..63]), Err(ElfError::File { .. })));
    assert!(matches!(parse(&ElfBuilder::new(0).note(b"X\0", 1, &[]).build()), Err(ElfError::NothingToLoad)));
}

#[test]
fn notes_that_lie_about_their_length_end_the_walk() {
    let note = |name: u32, desc: u32| {
        let mut n = Vec::new();
        n.extend(name.to_le_bytes());
        n.extend(desc.to_le_bytes());
        n.extend(18u32.to_le_bytes());
        n.extend(b"Xen\0\x01\x02\x03\x04");
        n
    };
    assert_eq!(find_note(&note(4, 4), b"Xen", 18), Some(&[1, 2, 3, 4][..]));
    for (name, desc) in [(4, 5), (5, 4), (u32::MAX, 4), (4, u32::MAX), (0xffff_fffd, 0xffff_fffd)] {
        assert_eq!(find_note(&note(name, desc), b"Xen", 18), None, "{name:#x} {desc:#x}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(
        cut in 0usize..5000,
        changes in prop::collection::vec((0usize..240, any::<u8>()), 0..8),
    ) {
        let mut bytes = sample();
        for (at, value) in changes {
            bytes[at] = value;
        }
        bytes.truncate(cut.max(1));
        let image = image_of(&bytes);
        if let Ok(elf) = Elf::parse(&image) {
            let _ = elf.note(&image, b"Xen", 18);
            for s in &elf.segments {
                prop_assert!(s.offset + s.file_size <= image.len());
                prop_assert!(s.file_size <= s.memory_size);
            }
        }
    }

    #[test]
    fn no_notes_make_the_walk_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = find_note(&bytes, b"Xen", 18);
    }
}
