//! Why a kernel cannot be booted.

use snafu::Snafu;

use super::ElfError;
use crate::plan::ImageError;

/// A file is not a kernel that we can boot.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub enum KernelError {
    /// It cannot be read, or ends too early.
    #[snafu(display("{source}"))]
    File {
        /// Why.
        source: ImageError,
    },
    /// It is a file of a known kind that is not an x86 kernel image.
    #[snafu(display("it is {what}, not an x86-64 Linux kernel. {advice}"))]
    NotAKernel {
        /// What it is.
        what: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// It is nothing that we know.
    #[snafu(display(
        "it is neither a bzImage nor an ELF vmlinux. Give /boot/vmlinuz-* of a distribution, or \
         arch/x86/boot/bzImage or vmlinux of a kernel build"
    ))]
    Unknown,
    /// Its boot protocol is from before 64-bit entry points.
    #[snafu(display(
        "it speaks boot protocol {}.{:02}, and 2.12 or later is needed for the 64-bit entry point. Use \
         Linux 3.8 or later", version >> 8, version & 0xff
    ))]
    Protocol {
        /// The version, major in the high byte.
        version: u16,
    },
    /// A 32-bit kernel.
    #[snafu(display(
        "it has no 64-bit entry point (XLF_KERNEL_64): it is a 32-bit kernel. Use an amd64 build"
    ))]
    Not64Bit,
    /// A zImage, loaded low.
    #[snafu(display("it is a zImage, which loads below 1 MiB. Build a bzImage"))]
    LoadedLow,
    /// The setup header's own length makes no sense.
    #[snafu(display(
        "its setup header ends at {end:#x}, which is not between 0x264 and 0x290. The file is broken"
    ))]
    HeaderLength {
        /// Offset of its end in the file.
        end: u64,
    },
    /// The file is shorter than its header says.
    #[snafu(display(
        "its header promises {need:#x} bytes, but the file has {have:#x}. It is truncated: copy it again"
    ))]
    Truncated {
        /// Bytes needed.
        need: u64,
        /// Bytes there are.
        have: u64,
    },
    /// Load address, alignment or size make no sense.
    #[snafu(display(
        "it wants to be loaded at {address:#x} with alignment {alignment:#x} and {init_size:#x} bytes of \
         memory for {code:#x} bytes of code, which cannot be. The file is broken"
    ))]
    Placement {
        /// pref_address.
        address: u64,
        /// kernel_alignment.
        alignment: u32,
        /// init_size.
        init_size: u32,
        /// Length of the protected-mode code.
        code: u64,
    },
    /// It is an ELF file that we cannot load.
    #[snafu(display("{source}"))]
    Elf {
        /// Why.
        source: ElfError,
    },
    /// An ELF file without a PVH entry point.
    #[snafu(display(
        "it is an ELF file without a PVH entry point (note Xen, type 18). Build it with CONFIG_PVH=y, or \
         use the bzImage of the same build"
    ))]
    NoPvhEntry,
    /// The PVH entry point is not an address in the kernel.
    #[snafu(display("its PVH entry point lies in none of its segments. The file is broken"))]
    PvhEntry,
}
