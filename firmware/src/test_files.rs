//! Tiny images for tests, made in memory and put into anonymous files.

use crate::plan::ImageFile;
use std::io::Write;

/// An open file with these bytes.
pub(crate) fn image_of(bytes: &[u8]) -> ImageFile {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    ImageFile::from_file(file, "test image").unwrap()
}

/// Writes small ELF executables: headers, then each part on a page of its own in the file.
pub(crate) struct ElfBuilder {
    entry: u64,
    parts: Vec<(u32, u64, Vec<u8>, u64, bool)>,
}

impl ElfBuilder {
    pub(crate) fn new(entry: u64) -> Self {
        ElfBuilder { entry, parts: Vec::new() }
    }

    /// A PT_LOAD segment with equal virtual and physical address.
    pub(crate) fn load(mut self, address: u64, bytes: &[u8], memory_size: u64, executable: bool) -> Self {
        self.parts.push((1, address, bytes.to_vec(), memory_size, executable));
        self
    }

    /// A PT_NOTE segment with one note; the name with its NUL.
    pub(crate) fn note(mut self, name: &[u8], kind: u32, descriptor: &[u8]) -> Self {
        let mut note = Vec::new();
        note.extend((name.len() as u32).to_le_bytes());
        note.extend((descriptor.len() as u32).to_le_bytes());
        note.extend(kind.to_le_bytes());
        note.extend(name);
        note.resize(note.len().next_multiple_of(4), 0);
        note.extend(descriptor);
        self.parts.push((4, 0, note, 0, false));
        self
    }

    pub(crate) fn build(self) -> Vec<u8> {
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(16, 0);
        elf.extend([2, 0, 62, 0, 1, 0, 0, 0]);
        elf.extend(self.entry.to_le_bytes());
        elf.extend(64u64.to_le_bytes());
        elf.resize(52, 0);
        elf.extend([64, 0, 56, 0, self.parts.len() as u8, 0]);
        elf.resize(64, 0);
        let mut offset = 0x1000;
        for (kind, address, bytes, memory_size, executable) in &self.parts {
            // Congruent to the address, as linkers have it.
            offset = u64::next_multiple_of(offset, 0x1000) + address % 0x1000;
            elf.extend(kind.to_le_bytes());
            elf.extend((4 | u32::from(*executable)).to_le_bytes());
            for field in [offset, *address, *address, bytes.len() as u64, *memory_size, 0x1000] {
                elf.extend(field.to_le_bytes());
            }
            offset += bytes.len() as u64;
        }
        for (_, address, bytes, _, _) in &self.parts {
            elf.resize(elf.len().next_multiple_of(0x1000) + (*address as usize % 0x1000), 0);
            elf.extend(bytes);
        }
        elf
    }
}

/// A bzImage with one setup sector and one code sector of boot protocol 2.15: 0x200 bytes of padding and
/// `code` behind them, at the 64-bit entry point.
pub(crate) fn bzimage(code: &[u8]) -> Vec<u8> {
    let mut b = vec![0; 0x400 + 0x200];
    b.extend(code);
    b.resize(b.len().next_multiple_of(16), 0);
    let code_len = b.len() as u32 - 0x400;
    for (at, bytes) in [
        (0x1f1, &[1][..]),
        (0x1f4, &(code_len / 16).to_le_bytes()),
        (0x1fe, &[0x55, 0xaa]),
        (0x200, &[0xeb, 0x6a]),
        (0x202, b"HdrS"),
        (0x206, &[0x0f, 0x02]),
        (0x211, &[1]),
        (0x22c, &0x7fff_ffffu32.to_le_bytes()),
        (0x230, &0x20_0000u32.to_le_bytes()),
        (0x234, &[1, 21]),
        (0x236, &[0x3f, 0]),
        (0x238, &2047u32.to_le_bytes()),
        (0x258, &0x100_0000u64.to_le_bytes()),
        (0x260, &0x10_0000u32.to_le_bytes()),
    ] {
        b[at..at + bytes.len()].copy_from_slice(bytes);
    }
    b
}
