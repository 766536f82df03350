//! 64-bit x86 ELF files that are loaded to fixed physical addresses: vmlinux and payloads.
//!
//! Format: System V ABI, gABI 4.1 chapters 4 and 5 (`elf(5)`).

use snafu::{OptionExt, ResultExt, Snafu, ensure};

use crate::bytes::bytes_at;
use crate::plan::{ImageError, ImageFile};

/// An ELF file cannot be loaded.
#[derive(Debug, Snafu)]
pub enum ElfError {
    /// The file is too short or cannot be read.
    #[snafu(display("{source}"))]
    File {
        /// Why.
        source: ImageError,
    },
    /// It does not begin as an ELF file does.
    #[snafu(display("it is not an ELF file. Give a statically linked x86-64 ELF executable"))]
    Magic,
    /// 32 bits, big endian, or another machine.
    #[snafu(display(
        "it is an ELF file for another machine (class {class}, byte order {order}, machine {machine}): \
         only 64-bit x86 (2, 1, 62) runs here"
    ))]
    Machine {
        /// EI_CLASS.
        class: u8,
        /// EI_DATA.
        order: u8,
        /// e_machine.
        machine: u16,
    },
    /// Not an executable with fixed addresses.
    #[snafu(display(
        "it is an ELF file of type {kind}, not an executable with fixed addresses (2). Link it with -no-pie \
         (relocation-model=static)"
    ))]
    Type {
        /// e_type.
        kind: u16,
    },
    /// It wants a dynamic linker.
    #[snafu(display("it is dynamically linked, and a guest has no dynamic linker. Link it statically"))]
    Dynamic,
    /// The program header table makes no sense.
    #[snafu(display(
        "its program header table is broken: {count} entries of {size} bytes (1 to {} of 56 are \
         possible). Is the file complete?",
        MAX_PROGRAM_HEADERS
    ))]
    ProgramHeaders {
        /// e_phnum.
        count: u16,
        /// e_phentsize.
        size: u16,
    },
    /// There is nothing to load.
    #[snafu(display("it has no segment to load. Is it an object file, or stripped of everything?"))]
    NothingToLoad,
    /// A segment's numbers contradict one another.
    #[snafu(display(
        "segment {index} is broken: {file_size:#x} bytes at file offset {offset:#x} for {memory_size:#x} \
         bytes of memory at {address:#x}. Is the file complete?"
    ))]
    Segment {
        /// Index of the program header.
        index: usize,
        /// p_offset.
        offset: u64,
        /// p_filesz.
        file_size: u64,
        /// p_memsz.
        memory_size: u64,
        /// p_paddr.
        address: u64,
    },
    /// A note segment is larger than we are ready to read.
    #[snafu(display(
        "its note segment has {size} bytes, more than the {} that are read. Strip it with objcopy",
        MAX_NOTES
    ))]
    NotesTooLarge {
        /// p_filesz.
        size: u64,
    },
}

/// The most program headers that we look at: kernels have about 5.
pub const MAX_PROGRAM_HEADERS: u16 = 64;
/// The most bytes of notes that we read: kernels have about 1 KiB.
pub const MAX_NOTES: u64 = 64 << 10;

const EHDR_LEN: usize = 64;
const PHDR_LEN: usize = 56;
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const ET_EXEC: u16 = 2;
const EM_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const PF_X: u32 = 1;

/// One PT_LOAD segment. Its file bytes lie inside the file and its addresses do not wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// First byte in the file.
    pub offset: u64,
    /// Where it is linked.
    pub virtual_address: u64,
    /// Where it is loaded.
    pub physical_address: u64,
    /// Bytes in the file.
    pub file_size: u64,
    /// Bytes in memory; those past `file_size` are zero.
    pub memory_size: u64,
    /// Whether it holds code.
    pub executable: bool,
}

/// An ELF executable's headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elf {
    /// Entry point, as linked.
    pub entry: u64,
    /// What to load, in file order, without empty segments; at least one.
    pub segments: Vec<Segment>,
    notes: Vec<(u64, u64)>,
}

fn u16_at(buf: &[u8], at: usize) -> u16 {
    bytes_at(buf, at).map_or(0, u16::from_le_bytes)
}

fn u32_at(buf: &[u8], at: usize) -> u32 {
    bytes_at(buf, at).map_or(0, u32::from_le_bytes)
}

fn u64_at(buf: &[u8], at: usize) -> u64 {
    bytes_at(buf, at).map_or(0, u64::from_le_bytes)
}

impl Elf {
    /// Reads and checks the headers of `image`.
    pub fn parse(image: &ImageFile) -> Result<Self, ElfError> {
        let mut header = [0; EHDR_LEN];
        let magic = header.first_chunk_mut::<4>().context(MagicSnafu)?;
        image.read_at(0, magic).context(FileSnafu)?;
        ensure!(*magic == *b"\x7fELF", MagicSnafu);
        image.read_at(0, &mut header).context(FileSnafu)?;
        let [_, _, _, _, class, order, ..] = header;
        let machine = u16_at(&header, 18);
        let ours = class == CLASS_64 && order == LITTLE_ENDIAN && machine == EM_X86_64;
        ensure!(ours, MachineSnafu { class, order, machine });
        let kind = u16_at(&header, 16);
        ensure!(kind == ET_EXEC, TypeSnafu { kind });

        let (count, size) = (u16_at(&header, 56), u16_at(&header, 54));
        let sane = (1..=MAX_PROGRAM_HEADERS).contains(&count) && usize::from(size) == PHDR_LEN;
        ensure!(sane, ProgramHeadersSnafu { count, size });
        let mut table = vec![[0; PHDR_LEN]; usize::from(count)];
        image.read_at(u64_at(&header, 32), table.as_flattened_mut()).context(FileSnafu)?;

        let mut elf = Elf { entry: u64_at(&header, 24), segments: Vec::new(), notes: Vec::new() };
        for (index, entry) in table.iter().enumerate() {
            elf.take(index, entry, image)?;
        }
        ensure!(!elf.segments.is_empty(), NothingToLoadSnafu);
        Ok(elf)
    }

    fn take(&mut self, index: usize, header: &[u8; PHDR_LEN], image: &ImageFile) -> Result<(), ElfError> {
        let kind = u32_at(header, 0);
        ensure!(kind != PT_INTERP, DynamicSnafu);
        let s = Segment {
            offset: u64_at(header, 8),
            virtual_address: u64_at(header, 16),
            physical_address: u64_at(header, 24),
            file_size: u64_at(header, 32),
            memory_size: u64_at(header, 40),
            executable: u32_at(header, 4) & PF_X != 0,
        };
        let in_file = s.offset.checked_add(s.file_size).is_some_and(|end| end <= image.len());
        let in_memory = s.file_size <= s.memory_size
            && s.physical_address.checked_add(s.memory_size).is_some()
            && s.virtual_address.checked_add(s.memory_size).is_some();
        let broken = SegmentSnafu {
            index,
            offset: s.offset,
            file_size: s.file_size,
            memory_size: s.memory_size,
            address: s.physical_address,
        };
        match kind {
            PT_LOAD if s.memory_size == 0 && s.file_size == 0 => {}
            PT_LOAD => {
                ensure!(in_file && in_memory, broken);
                self.segments.push(s);
            }
            PT_NOTE => {
                ensure!(in_file, broken);
                ensure!(s.file_size <= MAX_NOTES, NotesTooLargeSnafu { size: s.file_size });
                self.notes.push((s.offset, s.file_size));
            }
            _ => {}
        }
        Ok(())
    }

    /// The descriptor of the first note called `name` of type `kind`, from any note segment.
    ///
    /// Linux aligns its notes to 4 bytes whatever the segment says (`p_align` 8 is for GNU properties,
    /// which no boot protocol reads).
    pub fn note(&self, image: &ImageFile, name: &[u8], kind: u32) -> Result<Option<Vec<u8>>, ElfError> {
        for &(offset, size) in &self.notes {
            // At most MAX_NOTES.
            let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
            image.read_at(offset, &mut bytes).context(FileSnafu)?;
            if let Some(descriptor) = find_note(&bytes, name, kind) {
                return Ok(Some(descriptor.to_vec()));
            }
        }
        Ok(None)
    }
}

/// Walks notes: namesz, descsz, type, name and descriptor, each padded to 4 bytes.
fn find_note<'a>(mut rest: &'a [u8], name: &[u8], kind: u32) -> Option<&'a [u8]> {
    let pad4 = |n: u32| usize::try_from(n).ok()?.checked_next_multiple_of(4);
    loop {
        let name_len = u32::from_le_bytes(bytes_at(rest, 0)?);
        let desc_len = u32::from_le_bytes(bytes_at(rest, 4)?);
        let this_kind = u32::from_le_bytes(bytes_at(rest, 8)?);
        let (this_name, after) = rest.get(12..)?.split_at_checked(pad4(name_len)?)?;
        let this_name = this_name.get(..name_len as usize)?;
        let descriptor = after.get(..desc_len as usize)?;
        // The name counts its NUL.
        if this_kind == kind && this_name.strip_suffix(b"\0") == Some(name) {
            return Some(descriptor);
        }
        // The last descriptor's padding may be missing.
        rest = after.get(pad4(desc_len)?..)?;
    }
}

#[cfg(test)]
#[path = "elf_tests.rs"]
mod tests;
