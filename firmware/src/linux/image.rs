//! What kind of kernel a file is.

use snafu::{OptionExt, ResultExt, ensure};

use super::bzimage::{self, BzImage};
use super::elf::Elf;
use super::error::*;
use crate::bytes::bytes_at;
use crate::plan::ImageFile;

/// A kernel that can be booted, by how it is entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelImage {
    /// A bzImage, entered in 64-bit mode.
    BzImage(BzImage),
    /// An ELF vmlinux, entered in 32-bit mode through PVH.
    Pvh(PvhKernel),
}

/// An ELF vmlinux with a PVH entry point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PvhKernel {
    /// Its headers.
    pub elf: Elf,
    /// Physical address of the 32-bit entry point, inside a segment.
    pub entry: u32,
}

/// Note type XEN_ELFNOTE_PHYS32_ENTRY (xen/include/public/elfnote.h).
const PHYS32_ENTRY: u32 = 18;

/// How other files begin: offset, bytes, what that is, and what to do about it.
const STRANGERS: &[(usize, &[u8], &str, &str)] = &[
    (0, b"\x1f\x8b", "a gzip file", "Unpack it with gunzip first"),
    (0, b"\xfd7zXZ\0", "an xz file", "Unpack it with unxz first"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file", "Unpack it with unzstd first"),
    (0, b"\x04\x22\x4d\x18", "an lz4 file", "Unpack it with unlz4 first"),
    (0, b"\x02\x21\x4c\x18", "an lz4 file", "Unpack it with unlz4 first"),
    (0, b"BZh", "a bzip2 file", "Unpack it with bunzip2 first"),
    (0, b"070701", "a cpio archive", "That is an initrd: give it as the initrd and a kernel as the kernel"),
    (0, b"#!", "a script", "Give the path of the kernel image itself"),
    (0x38, b"ARM\x64", "an arm64 kernel Image", "Use a kernel built for x86-64 (amd64)"),
    (0x38, b"RSC\x05", "a RISC-V kernel Image", "Use a kernel built for x86-64 (amd64)"),
    (0, b"QFI\xfb", "a qcow2 disk image", "Give the disk as a disk and a kernel as the kernel"),
    (0, b"IGVM", "an IGVM file", "Boot it as firmware instead"),
    (
        0,
        b"MZ",
        "an EFI program without a Linux boot header (a unified kernel image?)",
        "Extract its .linux section with objcopy, or boot it through firmware",
    ),
];

impl KernelImage {
    /// Finds out what `image` is and checks its headers.
    pub fn detect(image: &ImageFile) -> Result<Self, KernelError> {
        let mut start = [0; 64];
        let have = usize::try_from(image.len()).unwrap_or(usize::MAX).min(start.len());
        let start = start.split_at_mut(have).0;
        image.read_at(0, start).context(FileSnafu)?;
        if start.starts_with(b"\x7fELF") {
            return PvhKernel::parse(image).map(KernelImage::Pvh);
        }
        if let Ok(header) = bzimage::read_start(image)
            && bzimage::is_bzimage(&header)
        {
            return BzImage::parse(image, &header).map(KernelImage::BzImage);
        }
        let stranger =
            STRANGERS.iter().find(|(at, magic, ..)| start.get(*at..).is_some_and(|s| s.starts_with(magic)));
        match stranger {
            Some(&(_, _, what, advice)) => NotAKernelSnafu { what, advice }.fail(),
            None => UnknownSnafu.fail(),
        }
    }

    /// The longest command line that the kernel takes, in bytes, without the NUL.
    pub fn cmdline_size(&self) -> u64 {
        match self {
            KernelImage::BzImage(k) => u64::from(k.cmdline_size),
            // COMMAND_LINE_SIZE of arch/x86/include/asm/setup.h, less the NUL; PVH does not tell.
            KernelImage::Pvh(_) => 2047,
        }
    }

    /// Where an initrd must end: what the kernel can reach.
    pub fn initrd_limit(&self) -> u64 {
        match self {
            KernelImage::BzImage(k) => u64::from(k.initrd_addr_max).saturating_add(1),
            KernelImage::Pvh(_) => 1 << 32,
        }
    }
}

impl PvhKernel {
    fn parse(image: &ImageFile) -> Result<Self, KernelError> {
        let elf = Elf::parse(image).context(ElfSnafu)?;
        let note = elf.note(image, b"Xen", PHYS32_ENTRY).context(ElfSnafu)?.context(NoPvhEntrySnafu)?;
        // A pointer of the kernel's: 4 bytes, or 8 of which the upper half is zero.
        let entry = match (note.len(), bytes_at(&note, 0), bytes_at(&note, 4)) {
            (4, Some(low), _) => u32::from_le_bytes(low),
            (8, Some(low), Some([0, 0, 0, 0])) => u32::from_le_bytes(low),
            _ => return PvhEntrySnafu.fail(),
        };
        // Not only in executable segments: recent kernels have it in .init.text, in a segment marked RW.
        let inside = elf.segments.iter().any(|s| {
            let from = s.physical_address;
            (from..from.saturating_add(s.file_size)).contains(&u64::from(entry))
        });
        ensure!(inside, PvhEntrySnafu);
        Ok(PvhKernel { elf, entry })
    }
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
