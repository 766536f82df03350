use super::*;
use crate::linux::ElfError;
use crate::test_files::{ElfBuilder, bzimage, image_of};
use proptest::prelude::*;

fn detect(bytes: &[u8]) -> Result<KernelImage, KernelError> {
    KernelImage::detect(&image_of(bytes))
}

#[test]
fn a_bzimage_is_recognised() {
    let Ok(KernelImage::BzImage(k)) = detect(&bzimage(b"code")) else { panic!("not a bzImage") };
    assert_eq!((k.code_offset, k.code_len), (0x400, 0x210));
    assert_eq!((k.pref_address, k.end()), (0x100_0000, 0x110_0000));
    assert_eq!((k.cmdline_size, k.initrd_addr_max), (2047, 0x7fff_ffff));
    assert_eq!(k.setup_header.len(), 0x26c - 0x1f1);
}

fn vmlinux(note: &[u8]) -> Vec<u8> {
    ElfBuilder::new(0x100_0000).load(0x100_0000, &[0x90; 64], 0x3000, true).note(b"Xen\0", 18, note).build()
}

#[test]
fn a_pvh_kernel_is_recognised_by_its_note_of_4_or_8_bytes() {
    for note in [&0x100_0010u32.to_le_bytes()[..], &0x100_0010u64.to_le_bytes()] {
        let Ok(KernelImage::Pvh(k)) = detect(&vmlinux(note)) else { panic!("not a PVH kernel") };
        assert_eq!(k.entry, 0x100_0010);
    }
    for note in [&[][..], &[0; 4], &[0; 7], &0x1_0100_0010u64.to_le_bytes(), &0x100_0040u32.to_le_bytes()] {
        assert!(matches!(detect(&vmlinux(note)), Err(KernelError::PvhEntry)), "{note:x?}");
    }
    // As in Linux 7.2: the entry point is in a segment that is not marked executable.
    let rw = ElfBuilder::new(0).load(0x100_0000, &[0x90; 64], 64, false).note(b"Xen\0", 18, &[0, 0, 0, 1]);
    assert!(matches!(detect(&rw.build()), Ok(KernelImage::Pvh(_))));
    let no_note = ElfBuilder::new(0x100_0000).load(0x100_0000, &[0x90; 64], 64, true).build();
    assert!(matches!(detect(&no_note), Err(KernelError::NoPvhEntry)));
    let arm = [&b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0"[..], &[0; 64]].concat();
    assert!(matches!(detect(&arm), Err(KernelError::Elf { source: ElfError::Machine { machine: 183, .. } })));
}

#[test]
fn other_files_are_called_by_their_name() {
    let name = |start: &[u8]| {
        let mut bytes = start.to_vec();
        bytes.resize(1000, 0);
        detect(&bytes).unwrap_err().to_string()
    };
    assert!(name(b"\x1f\x8b\x08").contains("gzip file") && name(b"\x1f\x8b\x08").contains("gunzip"));
    assert!(name(b"070701").contains("initrd"));
    assert!(name(b"MZ\x90").contains("unified kernel image"));
    let mut arm = vec![0; 0x38];
    arm.extend(b"ARM\x64");
    assert!(name(&arm).contains("arm64"));
    assert!(name(b"hello").contains("neither a bzImage nor an ELF"));
    assert!(matches!(detect(b"x"), Err(KernelError::Unknown)));
    assert!(matches!(detect(b"\x7fELF"), Err(KernelError::Elf { .. })));
}

#[test]
fn headers_that_lie_are_refused() {
    let good = bzimage(b"code");
    let with = |at: usize, bytes: &[u8]| {
        let mut image = good.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        detect(&image).unwrap_err()
    };
    assert!(matches!(with(0x206, &[0x0b, 2]), KernelError::Protocol { version: 0x20b }));
    assert!(matches!(with(0x236, &[0]), KernelError::Not64Bit));
    assert!(matches!(with(0x211, &[0]), KernelError::LoadedLow));
    assert!(matches!(with(0x201, &[0x10]), KernelError::HeaderLength { end: 0x212 }));
    assert!(matches!(with(0x201, &[0xff]), KernelError::HeaderLength { .. }));
    assert!(matches!(with(0x1f1, &[9]), KernelError::Truncated { .. }));
    assert!(matches!(with(0x1f4, &[0xff, 0xff, 0xff, 0xff]), KernelError::Truncated { .. }));
    assert!(matches!(with(0x1f4, &[0, 0]), KernelError::Truncated { .. }));
    assert!(matches!(with(0x258, &[0, 0x10, 0, 0]), KernelError::Placement { address: 0x1000, .. }));
    assert!(matches!(with(0x258, &[0x10]), KernelError::Placement { address: 0x100_0010, .. }));
    assert!(matches!(with(0x258, &[0xff; 8]), KernelError::Placement { .. }));
    assert!(matches!(
        with(0x258, &[0, 0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        KernelError::Placement { .. }
    ));
    assert!(matches!(with(0x230, &[0, 0, 0, 0]), KernelError::Placement { alignment: 0, .. }));
    assert!(matches!(with(0x260, &[0xff, 0, 0, 0]), KernelError::Placement { init_size: 0xff, .. }));
}

#[test]
fn a_kernel_cut_anywhere_is_refused() {
    let good = bzimage(b"code");
    // The last paragraph may be incomplete, no more.
    for len in [1, 0x1ff, 0x203, 0x28f, 0x300, 0x400, 0x600, good.len() - 16] {
        assert!(detect(&good[..len]).is_err(), "{len:#x}");
    }
    assert!(detect(&good[..good.len() - 15]).is_ok());
}

proptest! {
    #[test]
    fn no_bytes_make_detection_panic(
        cut in 1usize..0x700,
        changes in prop::collection::vec((0usize..0x290, any::<u8>()), 0..6),
    ) {
        let mut bytes = bzimage(b"code");
        for (at, value) in changes {
            bytes[at] = value;
        }
        bytes.truncate(cut);
        let image = image_of(&bytes);
        if let Ok(KernelImage::BzImage(k)) = KernelImage::detect(&image) {
            prop_assert!(k.code_offset + k.code_len <= image.len());
            prop_assert!(k.pref_address + u64::from(k.init_size) == k.end());
        }
    }
}
