//! What is wrong with a firmware image: the structure, where, what was found, what was wanted.

use snafu::Snafu;

use super::Guid;
use crate::plan::ImageError;

/// A firmware image cannot be used. Offsets count from the start of the file.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub enum FirmwareError {
    /// It cannot be read.
    #[snafu(display("{source}"))]
    File {
        /// Why.
        source: ImageError,
    },
    /// The image is not a size that can end at 4 GiB.
    #[snafu(display(
        "the image has {len:#x} bytes, wanted whole pages of 4 KiB, at least one and at most {max:#x} \
         bytes. Is this the complete firmware (OVMF.fd), and not OVMF_CODE or OVMF_VARS?"
    ))]
    ImageSize {
        /// Bytes found.
        len: u64,
        /// The most there may be.
        max: u64,
    },
    /// The image would begin below address 0, or within a page.
    #[snafu(display(
        "an image of {len:#x} bytes cannot end at {end:#x}: it needs whole pages of 4 KiB above address 0. Is the \
         variable store above it as large as was said, in whole pages?"
    ))]
    ImagePlace {
        /// Bytes found.
        len: u64,
        /// Where it has to end.
        end: u64,
    },
    /// The table's own length is impossible.
    #[snafu(display(
        "GUID table footer at {offset:#x}: length {found:#x}, wanted 0x12 to {max:#x}. The image is broken"
    ))]
    TableLength {
        /// Offset of the length.
        offset: usize,
        /// Length found.
        found: usize,
        /// The longest that would fit.
        max: usize,
    },
    /// An entry's length is impossible.
    #[snafu(display(
        "GUID table entry {guid} ending at {offset:#x}: length {found:#x}, wanted 0x12 to {max:#x}, what \
         is left of the table. The image is broken"
    ))]
    EntryLength {
        /// Its GUID.
        guid: Guid,
        /// Offset after its last byte.
        offset: usize,
        /// Length found.
        found: usize,
        /// What is left.
        max: usize,
    },
    /// Bytes of the table are left that are no entry.
    #[snafu(display(
        "GUID table at {offset:#x}: {left} bytes are left, wanted none, or the 18 or more of an entry. The \
         image is broken"
    ))]
    TableRest {
        /// Offset of the first of them.
        offset: usize,
        /// How many.
        left: usize,
    },
    /// The same GUID twice.
    #[snafu(display(
        "GUID table: entry {guid} at {offset:#x} is there twice, wanted once. The image is broken"
    ))]
    EntryTwice {
        /// The GUID.
        guid: Guid,
        /// Offset of the second one.
        offset: usize,
    },
    /// An entry that does not hold what it must.
    #[snafu(display("{what} at {offset:#x}: {found} bytes of data, wanted {wanted}. The image is broken"))]
    EntryData {
        /// Name of the entry.
        what: &'static str,
        /// Offset of its data.
        offset: usize,
        /// Bytes found.
        found: usize,
        /// Bytes wanted.
        wanted: usize,
    },
    /// An area that an entry names lies nowhere.
    #[snafu(display(
        "{what} at {offset:#x}: area {gpa:#x} with {size:#x} bytes, wanted one that ends below {end:#x}. \
         The image is broken"
    ))]
    Area {
        /// Name of the entry.
        what: &'static str,
        /// Offset of its data.
        offset: usize,
        /// Address found.
        gpa: u32,
        /// Size found.
        size: u32,
        /// Where it must end.
        end: u64,
    },
    /// A metadata block is not where its entry says.
    #[snafu(display(
        "{what} at {offset:#x}: the block would begin {found:#x} bytes before the end, wanted {min:#x} to \
         {max:#x}. The image is broken"
    ))]
    MetadataOffset {
        /// Name of the entry.
        what: &'static str,
        /// Offset of its data.
        offset: usize,
        /// Distance found.
        found: u32,
        /// Least distance.
        min: usize,
        /// The image's length.
        max: usize,
    },
    /// A metadata block with another signature.
    #[snafu(display(
        "{what} at {offset:#x}: signature {found:02x?}, wanted {wanted:02x?}. The image is broken"
    ))]
    Signature {
        /// Name of the block.
        what: &'static str,
        /// Offset of the block.
        offset: usize,
        /// Bytes found.
        found: [u8; 4],
        /// Bytes wanted.
        wanted: [u8; 4],
    },
    /// A metadata block of another version.
    #[snafu(display("{what} at {offset:#x}: version {found}, wanted 1. It is newer than this program"))]
    Version {
        /// Name of the block.
        what: &'static str,
        /// Offset of the block.
        offset: usize,
        /// Version found.
        found: u32,
    },
    /// A metadata block with more entries than anyone needs.
    #[snafu(display("{what} at {offset:#x}: {found} entries, wanted at most {max}. The image is broken"))]
    Entries {
        /// Name of the block.
        what: &'static str,
        /// Offset of the block.
        offset: usize,
        /// Entries found.
        found: u32,
        /// The most there may be.
        max: u32,
    },
    /// A metadata block whose length does not go with its number of entries, or with the file.
    #[snafu(display(
        "{what} at {offset:#x}: length {found:#x} with {count} entries, wanted 16 + {entry} for each, at \
         most {max:#x}. The image is broken"
    ))]
    BlockLength {
        /// Name of the block.
        what: &'static str,
        /// Offset of the block.
        offset: usize,
        /// Length found.
        found: u32,
        /// Entries found.
        count: u32,
        /// Bytes an entry has.
        entry: usize,
        /// Bytes to the end of the file.
        max: usize,
    },
    /// A section that is not made of whole pages.
    #[snafu(display(
        "{what} section {index} at {offset:#x}: address {gpa:#x} with {size:#x} bytes, wanted multiples of \
         0x1000. The image is broken"
    ))]
    SectionPages {
        /// Name of the block.
        what: &'static str,
        /// Its number, from 0.
        index: usize,
        /// Offset of the section's entry.
        offset: usize,
        /// Address found.
        gpa: u64,
        /// Size found.
        size: u64,
    },
    /// A section over the firmware itself or past its end, as an underflow at build time makes them.
    #[snafu(display(
        "{what} section {index} at {offset:#x}: {gpa:#x} with {size:#x} bytes, wanted an end at or below \
         {end:#x}, where the firmware begins. The image was built wrong: use another build"
    ))]
    SectionEnd {
        /// Name of the block.
        what: &'static str,
        /// Its number, from 0.
        index: usize,
        /// Offset of the section's entry.
        offset: usize,
        /// Address found.
        gpa: u64,
        /// Size found.
        size: u64,
        /// Where it must end.
        end: u64,
    },
    /// More memory than any firmware needs before it runs.
    #[snafu(display(
        "{what} section {index} at {offset:#x}: {size:#x} bytes make {total:#x} in all, wanted at most \
         {max:#x}. The image was built wrong: use another build"
    ))]
    SectionsTooLarge {
        /// Name of the block.
        what: &'static str,
        /// Number of the section that is too much, from 0.
        index: usize,
        /// Offset of the section's entry.
        offset: usize,
        /// Its size.
        size: u64,
        /// With those before it.
        total: u64,
        /// The most there may be.
        max: u64,
    },
    /// Two sections share memory.
    #[snafu(display(
        "{what} section {index} at {offset:#x}: {gpa:#x} with {size:#x} bytes lies over section {other}, \
         wanted it apart. The image was built wrong: use another build"
    ))]
    SectionsOverlap {
        /// Name of the block.
        what: &'static str,
        /// Its number, from 0.
        index: usize,
        /// Offset of the section's entry.
        offset: usize,
        /// Address found.
        gpa: u64,
        /// Size found.
        size: u64,
        /// The section that it lies over.
        other: usize,
    },
    /// A section that is one page or nothing, and is larger.
    #[snafu(display(
        "SEV metadata section {index} ({kind}) at {offset:#x}: {size:#x} bytes, wanted one page. The image \
         is broken"
    ))]
    SectionOnePage {
        /// Its number, from 0.
        index: usize,
        /// What it is.
        kind: &'static str,
        /// Offset of the section's entry.
        offset: usize,
        /// Size found.
        size: u64,
    },
    /// A section that can be there once is there again.
    #[snafu(display(
        "{what} section {index} at {offset:#x}: a second {kind}, wanted one. The image is broken"
    ))]
    SectionTwice {
        /// Name of the block.
        what: &'static str,
        /// Its number, from 0.
        index: usize,
        /// Offset of the section's entry.
        offset: usize,
        /// What it is.
        kind: &'static str,
    },
    /// The hash table does not fit into the section that is launched for it.
    #[snafu(display(
        "SEV hash table block: {size:#x} bytes at {gpa:#x}, wanted {wanted} of them or more inside the \
         KERNEL_HASHES section, {start:#x} to {end:#x}. The image was built wrong: use another build"
    ))]
    HashTablePlace {
        /// Address found.
        gpa: u32,
        /// Size found.
        size: u32,
        /// Bytes that a table has.
        wanted: usize,
        /// Start of the section.
        start: u64,
        /// End of the section.
        end: u64,
    },
    /// A direct boot with a firmware that would not look at the hashes.
    #[snafu(display(
        "it has no {missing}, so it cannot check a kernel that it is handed, and the kernel would not be \
         measured. Use a build for measured direct boot (OvmfPkg/AmdSev), or leave out the kernel"
    ))]
    NoKernelHashes {
        /// What is not there.
        missing: &'static str,
    },
    /// More than one vCPU, and nowhere for the second to start.
    #[snafu(display(
        "it has no SEV-ES reset block, so only one vCPU can start in it. Launch one vCPU, or use a build \
         for SEV (OvmfPkg/AmdSev or OvmfPkg/OvmfPkgX64)"
    ))]
    NoResetBlock,
    /// An SNP launch with a firmware that was not built for it.
    #[snafu(display(
        "it has no SEV metadata, so it cannot run under SNP: nobody would give it its secrets page and CPUID \
         page. Use a build for SNP (OvmfPkg/AmdSev or OvmfPkg/OvmfPkgX64)"
    ))]
    NoSevMetadata,
    /// An SVSM that does not say where it starts.
    #[snafu(display("it has no SVSM info entry ({guid}), so it is no SVSM. Give a coconut-svsm binary"))]
    NotAnSvsm {
        /// The GUID looked for.
        guid: Guid,
    },
}
