//! Why a guest cannot be planned: what, why, and what to do.

use snafu::Snafu;

use super::{ImageError, machine};
use crate::linux::{ElfError, KernelError};
use crate::ovmf::FirmwareError;
use crate::tdvf::TdvfError;

/// A guest cannot be planned. Nothing was created yet.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub enum PlanError {
    /// Memory is not a whole number of pages.
    #[snafu(display("memory of {memory:#x} bytes is not a multiple of 4 KiB. Give it in MiB, such as 512M"))]
    MemoryNotPages {
        /// Bytes of memory.
        memory: u64,
    },
    /// Less memory than any guest of ours can start with.
    #[snafu(display(
        "memory of {} MiB is too little: a guest needs at least {} MiB. Give it more",
        memory >> 20, machine::MIN_MEMORY >> 20
    ))]
    MemoryTooSmall {
        /// Bytes of memory.
        memory: u64,
    },
    /// More memory than physical addresses can reach.
    #[snafu(display(
        "memory of {} GiB is more than the {} GiB that a guest's physical addresses reach. Give it less",
        memory >> 30, machine::MAX_MEMORY >> 30
    ))]
    MemoryTooLarge {
        /// Bytes of memory.
        memory: u64,
    },
    /// No vCPU, or more than 8-bit APIC ids can number.
    #[snafu(display(
        "{vcpus} vCPUs: a guest has between 1 and {} (8-bit APIC ids). Choose a number in between",
        machine::MAX_VCPUS
    ))]
    Vcpus {
        /// Number of vCPUs asked for.
        vcpus: u32,
    },
    /// The encryption bit is none.
    #[snafu(display(
        "bit {bit} cannot be the memory encryption bit of page tables: it must lie between 32 and 51. \
         Take it from CPUID leaf 0x8000001f, EBX bits 5:0"
    ))]
    EncryptionBit {
        /// The bit.
        bit: u8,
    },
    /// One of the files is unusable.
    #[snafu(display("cannot use the {what}: {source}"))]
    Image {
        /// `"kernel"`, `"initrd"`, …
        what: &'static str,
        /// Why.
        source: ImageError,
    },
    /// The kernel is not one that we can boot.
    #[snafu(display("cannot boot {path}: {source}"))]
    Kernel {
        /// The file.
        path: String,
        /// Why.
        source: KernelError,
    },
    /// The payload is not an ELF file that we can load.
    #[snafu(display("cannot load the payload {path}: {source}"))]
    Payload {
        /// The file.
        path: String,
        /// Why.
        source: ElfError,
    },
    /// A payload's segment has a physical address that is not its virtual one.
    #[snafu(display(
        "a segment of {path} is linked at {virtual_address:#x} but loaded at {physical_address:#x}: a payload runs \
         where it is loaded. Link it without AT() or a higher-half base"
    ))]
    NotIdentity {
        /// The file.
        path: String,
        /// p_vaddr.
        virtual_address: u64,
        /// p_paddr.
        physical_address: u64,
    },
    /// A segment lies in the first MiB.
    #[snafu(display(
        "a segment of {path} at {address:#x} lies below 1 MiB, where the boot tables are. Link it at \
         0x100000 or above"
    ))]
    SegmentTooLow {
        /// The file.
        path: String,
        /// Its physical address.
        address: u64,
    },
    /// A segment cannot be placed in whole pages.
    #[snafu(display(
        "a segment of {path} at {address:#x} does not lie in its page as it does in the file (offset \
         {offset:#x}). Align segments to 4096 in the linker script"
    ))]
    SegmentAlignment {
        /// The file.
        path: String,
        /// Its physical address.
        address: u64,
        /// Its offset in the file.
        offset: u64,
    },
    /// The entry point is not in a segment that holds code.
    #[snafu(display(
        "the entry point {entry:#x} of {path} lies in none of its executable segments. Name it with \
         ENTRY() in the linker script"
    ))]
    Entry {
        /// The file.
        path: String,
        /// e_entry.
        entry: u64,
    },
    /// The boot information of a payload is more than a page.
    #[snafu(display("boot parameters of {len} bytes do not fit into a page of 4096. Give fewer"))]
    ParamsTooLong {
        /// Bytes.
        len: usize,
    },
    /// The command line is longer than the kernel takes.
    #[snafu(display(
        "the command line has {len} bytes, but this kernel takes {max}: the rest would be cut off in \
         silence. Shorten it"
    ))]
    CmdlineTooLong {
        /// Bytes, without the terminating NUL.
        len: u64,
        /// What the kernel takes.
        max: u64,
    },
    /// The command line has a NUL in it.
    #[snafu(display(
        "the command line has a NUL at byte {at}: the kernel would stop reading there. Remove it"
    ))]
    CmdlineNul {
        /// Where.
        at: usize,
    },
    /// The kernel needs more memory than there is.
    #[snafu(display(
        "the kernel needs memory from {start:#x} to {end:#x} to unpack itself, but RAM ends at \
         {ram_end:#x}. Give the guest at least {} MiB",
        end.div_ceil(1 << 20)
    ))]
    KernelDoesNotFit {
        /// Where it must lie.
        start: u64,
        /// The end of what it needs.
        end: u64,
        /// Where low RAM ends.
        ram_end: u64,
    },
    /// The initrd finds no place.
    #[snafu(display(
        "the initrd of {} MiB does not fit between the kernel's end at {from:#x} and {to:#x}. Give the \
         guest more memory or the initrd fewer files",
        size.div_ceil(1 << 20)
    ))]
    InitrdTooLarge {
        /// Its size in bytes.
        size: u64,
        /// First address it could have.
        from: u64,
        /// Where it must end: end of low RAM, or what the kernel can reach.
        to: u64,
    },
    /// ACPI tables larger than their area.
    #[snafu(display("ACPI tables of {len:#x} bytes do not fit into the {max:#x} bytes that they have"))]
    AcpiTooLong {
        /// Their size.
        len: u64,
        /// Room for them.
        max: u64,
    },
    /// The SNP pages can be announced by the Linux boot protocol only.
    #[snafu(display(
        "{path} is booted through PVH, which cannot tell a kernel where the SNP pages are. Use a bzImage \
         (arch/x86/boot/bzImage, or /boot/vmlinuz-*)"
    ))]
    AnnounceNeedsBzImage {
        /// The file.
        path: String,
    },
    /// Two things in the same place.
    #[snafu(display(
        "the {first} and the {second} at {gpa:#x} would overlap in guest memory: one of the images asks \
         for a place that is taken"
    ))]
    Overlap {
        /// The lower one.
        first: &'static str,
        /// The upper one.
        second: &'static str,
        /// Where the upper one begins.
        gpa: u64,
    },
    /// Something outside RAM.
    #[snafu(display(
        "the {label} at {gpa:#x}, {size:#x} bytes, is not inside guest RAM. Give the guest more memory, \
         or an image that is linked lower"
    ))]
    OutsideRam {
        /// What.
        label: &'static str,
        /// First address.
        gpa: u64,
        /// Bytes.
        size: u64,
    },
    /// A run that is not made of whole pages, or of none.
    #[snafu(display("the {label} at {gpa:#x} is empty or does not start on a page: the plan is wrong"))]
    NotPages {
        /// What.
        label: &'static str,
        /// First address.
        gpa: u64,
    },
    /// The firmware cannot be launched.
    #[snafu(display("cannot use the firmware: {source}"))]
    Firmware {
        /// Why.
        source: FirmwareError,
    },
    /// The firmware cannot be launched as a TD.
    #[snafu(display("cannot use the firmware in a TD: {source}"))]
    Tdvf {
        /// Why.
        source: TdvfError,
    },
    /// The SVSM cannot be launched.
    #[snafu(display("cannot use the SVSM: {source}"))]
    Svsm {
        /// Why.
        source: FirmwareError,
    },
    /// An SVSM and a kernel.
    #[snafu(display(
        "a guest with an SVSM cannot be handed a kernel: nobody would measure its hashes. Leave out the \
         kernel, or the SVSM"
    ))]
    SvsmWithKernel,
    /// No vCPU, or more than the launcher can have.
    #[snafu(display(
        "{vcpus} vCPUs: a guest of {profile} has between 1 and {max}. Choose a number in between"
    ))]
    FirmwareVcpus {
        /// Number of vCPUs asked for.
        vcpus: u32,
        /// The most.
        max: u32,
        /// Who launches.
        profile: &'static str,
    },
}
