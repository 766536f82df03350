//! Why a file is no IGVM file that can be used: which structure, where, what was found and what wanted.

use snafu::Snafu;

use super::{PageDataType, PlatformType};
use crate::plan::ImageError;

/// An IGVM file is not usable. Offsets are from the start of the file.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub enum IgvmError {
    /// It cannot be read.
    #[snafu(display("{source}"))]
    File {
        /// Why.
        source: ImageError,
    },
    /// It is shorter than a fixed header.
    #[snafu(display(
        "the fixed header at 0x0 needs {wanted} bytes, but the file has {found}. Was it copied completely?"
    ))]
    TooShort {
        /// Bytes of the file.
        found: u64,
        /// Bytes needed.
        wanted: u64,
    },
    /// It does not begin as IGVM files do.
    #[snafu(display(
        "the fixed header at 0x0 begins with {found:#010x}, and \"IGVM\" (0x4d564749) is wanted: it is no \
         IGVM file. Give the path of one"
    ))]
    Magic {
        /// The first four bytes.
        found: u32,
    },
    /// A version that nobody has defined yet.
    #[snafu(display(
        "format_version of the fixed header at 0x4 is {found}, and 1 or 2 is wanted. A newer cloister may \
         know it"
    ))]
    Version {
        /// The version.
        found: u32,
    },
    /// Not for x86-64.
    #[snafu(display(
        "architecture of the fixed header at 0x18 is {found}, and 0 (x86-64) is wanted. Build the file for \
         x86-64"
    ))]
    Architecture {
        /// The architecture.
        found: u32,
    },
    /// Pages of another size.
    #[snafu(display(
        "page_size of the fixed header at 0x1c is {found}, and 4096 is wanted. Build the file with that"
    ))]
    PageSize {
        /// The size.
        found: u32,
    },
    /// Its length is not what the header says.
    #[snafu(display(
        "total_file_size of the fixed header at 0x10 is {wanted:#x}, but the file has {found:#x} bytes. Was \
         it copied completely?"
    ))]
    TotalSize {
        /// Bytes of the file.
        found: u64,
        /// Bytes by the header.
        wanted: u32,
    },
    /// The variable headers do not begin where they could.
    #[snafu(display(
        "variable_header_offset of the fixed header at 0x8 is {found:#x}, and a multiple of 8 from \
         {wanted:#x} on is wanted. The file is broken"
    ))]
    HeaderOffset {
        /// The offset.
        found: u32,
        /// Bytes of the fixed header.
        wanted: u64,
    },
    /// The variable headers do not end inside the file, or not on a multiple of 8.
    #[snafu(display(
        "variable_header_size of the fixed header at 0xc is {found:#x} from {offset:#x} on, and a multiple \
         of 8 inside the file of {file:#x} bytes is wanted. The file is broken"
    ))]
    HeaderSize {
        /// The size.
        found: u32,
        /// Where they begin.
        offset: u32,
        /// Bytes of the file.
        file: u64,
    },
    /// More bytes of variable headers than any file needs.
    #[snafu(display(
        "variable_header_size of the fixed header at 0xc is {found:#x}, and at most {wanted:#x} is wanted. \
         The file is broken or absurd"
    ))]
    HeadersTooLong {
        /// The size.
        found: u32,
        /// The limit.
        wanted: u32,
    },
    /// More variable headers than any file needs.
    #[snafu(display(
        "variable header number {found} at {offset:#x} is one too many: at most {wanted} are read. The \
         file is broken or absurd"
    ))]
    TooManyHeaders {
        /// Its number.
        found: usize,
        /// Where it is.
        offset: u64,
        /// The limit.
        wanted: usize,
    },
    /// The headers are not those that were written.
    #[snafu(display(
        "checksum of the fixed header at 0x14 is {found:#010x}, but the headers have {wanted:#010x}. The \
         file was damaged or changed: copy or build it again"
    ))]
    Checksum {
        /// In the file.
        found: u32,
        /// Computed.
        wanted: u32,
    },
    /// A variable header runs over the end of its area.
    #[snafu(display(
        "{name} at {offset:#x} needs {wanted:#x} bytes, but {found:#x} of the variable headers are left. The \
         file is broken"
    ))]
    Truncated {
        /// Type.
        name: String,
        /// Where it is.
        offset: u64,
        /// Bytes left.
        found: u64,
        /// Bytes needed.
        wanted: u64,
    },
    /// The gap between two variable headers has something in it.
    #[snafu(display(
        "{name} at {offset:#x} is padded with {found:#04x} to a multiple of 8, and zeros are wanted. The \
         file is broken"
    ))]
    Padding {
        /// Type.
        name: String,
        /// Where it is.
        offset: u64,
        /// The first byte that is not zero.
        found: u8,
    },
    /// A type that must be understood and is not.
    #[snafu(display(
        "the variable header at {offset:#x} has type {found:#x}, which is unknown and not marked as optional. \
         A newer cloister may know it"
    ))]
    UnknownType {
        /// Where it is.
        offset: u64,
        /// The type.
        found: u32,
    },
    /// A header behind those of a later section.
    #[snafu(display(
        "{name} at {offset:#x} is a {found} header behind a {wanted} header, and platform, initialization, \
         directive is the order wanted. The file is broken"
    ))]
    OutOfOrder {
        /// Type.
        name: String,
        /// Where it is.
        offset: u64,
        /// Its section.
        found: &'static str,
        /// The section that began before it.
        wanted: &'static str,
    },
    /// A structure of another length.
    #[snafu(display(
        "{name} at {offset:#x} has {found} bytes, and {wanted} are wanted. The file is broken, or for a newer \
         cloister"
    ))]
    Length {
        /// Type.
        name: &'static str,
        /// Where it is.
        offset: u64,
        /// Its length.
        found: u32,
        /// The length it must have.
        wanted: usize,
    },
    /// A reserved field that is in use.
    #[snafu(display(
        "{field} of {name} at {offset:#x} is {found:#x}, and zero is wanted. The file is broken, or for a \
         newer cloister"
    ))]
    Reserved {
        /// Type.
        name: &'static str,
        /// Where it is.
        offset: u64,
        /// Which field.
        field: &'static str,
        /// What it holds.
        found: u64,
    },
    /// An address or a size that is not made of pages.
    #[snafu(display(
        "{field} of {name} at {offset:#x} is {found:#x}, and a multiple of 4096 is wanted. The file is broken"
    ))]
    Unaligned {
        /// Type.
        name: &'static str,
        /// Where it is.
        offset: u64,
        /// Which field.
        field: &'static str,
        /// What it holds.
        found: u64,
    },
    /// Addresses that no CPU has.
    #[snafu(display(
        "{name} at {offset:#x} covers {size:#x} bytes from address {found:#x} on, and an end of at most 2^52 \
         is wanted. The file is broken"
    ))]
    Address {
        /// Type.
        name: &'static str,
        /// Where it is.
        offset: u64,
        /// First address.
        found: u64,
        /// Bytes.
        size: u64,
    },
    /// Bytes outside the file's data.
    #[snafu(display(
        "{name} at {offset:#x} has its data at {found:#x}, {len:#x} bytes, and a place from {data:#x} to the \
         file's end at {end:#x} is wanted. The file is broken"
    ))]
    DataRange {
        /// Type.
        name: &'static str,
        /// Where it is.
        offset: u64,
        /// file_offset.
        found: u64,
        /// Bytes.
        len: u64,
        /// Where data begins.
        data: u64,
        /// Where the file ends.
        end: u64,
    },
    /// A mask that names no platform, or several where one is wanted, or one that is not declared.
    #[snafu(display(
        "compatibility_mask of {name} at {offset:#x} is {found:#x}, and {wanted} is wanted. The file is broken"
    ))]
    Mask {
        /// Type.
        name: &'static str,
        /// Where it is.
        offset: u64,
        /// The mask.
        found: u32,
        /// What it should be.
        wanted: String,
    },
    /// A file for nothing.
    #[snafu(display(
        "no SUPPORTED_PLATFORM among the variable headers, and one is wanted. The file is broken"
    ))]
    NoPlatform,
    /// A platform that is declared twice.
    #[snafu(display(
        "SUPPORTED_PLATFORM at {offset:#x} is for {found}, as is the one at {first:#x}, and one for each \
         platform is wanted. The file is broken"
    ))]
    PlatformTwice {
        /// Where it is.
        offset: u64,
        /// The platform.
        found: PlatformType,
        /// Where the first one is.
        first: u64,
    },
    /// A platform's version or a field that depends on the platform.
    #[snafu(display(
        "{field} of SUPPORTED_PLATFORM at {offset:#x} is {found:#x}, and {wanted} is wanted. A newer cloister \
         may know it"
    ))]
    Platform {
        /// Where it is.
        offset: u64,
        /// Which field.
        field: &'static str,
        /// What it holds.
        found: u64,
        /// What it should hold.
        wanted: &'static str,
    },
    /// Two policies for one platform.
    #[snafu(display(
        "GUEST_POLICY at {offset:#x} is for {found}, as is the one at {first:#x}, and one for each platform is \
         wanted. The file is broken"
    ))]
    PolicyTwice {
        /// Where it is.
        offset: u64,
        /// The platform.
        found: PlatformType,
        /// Where the first one is.
        first: u64,
    },
    /// A kind of page that nobody has defined yet.
    #[snafu(display(
        "data_type of PAGE_DATA at {offset:#x} is {}, and 0 to 3 is wanted. A newer cloister may know it",
        found.0
    ))]
    DataType {
        /// Where it is.
        offset: u64,
        /// The type.
        found: PageDataType,
    },
    /// A page of 2 MiB.
    #[snafu(display(
        "PAGE_DATA at {offset:#x} is a page of 2 MiB, and pages of 4 KiB are wanted: KVM launches no others. \
         Build the file with those"
    ))]
    LargePage {
        /// Where it is.
        offset: u64,
    },
    /// A parameter area of no or too many bytes.
    #[snafu(display(
        "number_of_bytes of PARAMETER_AREA at {offset:#x} is {found:#x}, and between 4096 and {wanted:#x} in \
         all areas is wanted. The file is broken"
    ))]
    AreaSize {
        /// Where it is.
        offset: u64,
        /// Bytes.
        found: u64,
        /// The limit of all areas.
        wanted: u64,
    },
    /// An index that is taken.
    #[snafu(display(
        "PARAMETER_AREA at {offset:#x} has index {found}, which the one at {first:#x} has. The file is broken"
    ))]
    AreaTwice {
        /// Where it is.
        offset: u64,
        /// The index.
        found: u32,
        /// Where the first one is.
        first: u64,
    },
    /// An index that no area has.
    #[snafu(display(
        "{name} at {offset:#x} uses parameter area {found}, and one declared before it is wanted. The file is \
         broken"
    ))]
    AreaUnknown {
        /// Type.
        name: &'static str,
        /// Where it is.
        offset: u64,
        /// The index.
        found: u32,
    },
    /// An area that is in the guest already.
    #[snafu(display(
        "{name} at {offset:#x} uses parameter area {found}, which was inserted at {first:#x} already. The file \
         is broken"
    ))]
    AreaInserted {
        /// Type.
        name: &'static str,
        /// Where it is.
        offset: u64,
        /// The index.
        found: u32,
        /// Where PARAMETER_INSERT is.
        first: u64,
    },
    /// A parameter that does not fit into its area.
    #[snafu(display(
        "{name} at {offset:#x} wants {least} bytes at byte {found:#x} of parameter area {index}, which has \
         {size:#x}. The file is broken"
    ))]
    ParameterRange {
        /// Type.
        name: &'static str,
        /// Where it is.
        offset: u64,
        /// byte_offset.
        found: u32,
        /// The least bytes it needs.
        least: u64,
        /// The area.
        index: u32,
        /// Bytes of the area.
        size: u64,
    },
    /// Two things on one page.
    #[snafu(display(
        "{name} at {offset:#x} and the header at {first:#x} both fill address {found:#x} for {platform}. The \
         file is broken"
    ))]
    Overlap {
        /// Type of the one with the higher address.
        name: &'static str,
        /// Where it is.
        offset: u64,
        /// Where the other one is.
        first: u64,
        /// The address.
        found: u64,
        /// The platform.
        platform: PlatformType,
    },
    /// A vCPU state for a platform whose vCPUs have a fixed one.
    #[snafu(display(
        "VP_CONTEXT at {offset:#x} is for {found}, whose vCPUs start as the platform says. The file is broken"
    ))]
    ContextPlatform {
        /// Where it is.
        offset: u64,
        /// The platform.
        found: PlatformType,
    },
    /// Two states for one vCPU.
    #[snafu(display(
        "VP_CONTEXT at {offset:#x} is for vCPU {found} of {platform}, as is the one at {first:#x}. The file is \
         broken"
    ))]
    ContextTwice {
        /// Where it is.
        offset: u64,
        /// The vCPU.
        found: u16,
        /// The platform.
        platform: PlatformType,
        /// Where the first one is.
        first: u64,
    },
    /// Two ID blocks for one platform.
    #[snafu(display(
        "SNP_ID_BLOCK at {offset:#x} is a second one, the first is at {first:#x}. The file is broken"
    ))]
    IdBlockTwice {
        /// Where it is.
        offset: u64,
        /// Where the first one is.
        first: u64,
    },
    /// An ID block of a version that nobody has defined yet.
    #[snafu(display(
        "version of SNP_ID_BLOCK at {offset:#x} is {found}, and 1 is wanted. A newer cloister may know it"
    ))]
    IdBlockVersion {
        /// Where it is.
        offset: u64,
        /// The version.
        found: u32,
    },
}
