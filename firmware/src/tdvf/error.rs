//! What is wrong with TDVF metadata: the structure, where, what was found, what was wanted.

use snafu::Snafu;

use crate::ovmf::{FirmwareError, Guid};

/// The TDVF metadata of a firmware image cannot be used. Offsets count from the start of the file.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub enum TdvfError {
    /// The block or the place of a section is wrong.
    #[snafu(display("{source}"))]
    Block {
        /// Why.
        source: FirmwareError,
    },
    /// The descriptor's GUID is not before it.
    #[snafu(display(
        "TDVF descriptor at {offset:#x}: GUID {found:?} before it, wanted {wanted}. The image is broken"
    ))]
    Guid {
        /// Offset of the descriptor.
        offset: usize,
        /// GUID found, if there was room for one.
        found: Option<Guid>,
        /// GUID wanted.
        wanted: Guid,
    },
    /// A type that nobody defined.
    #[snafu(display(
        "TDVF section {index} at {offset:#x}: type {found}, wanted 0 to 7. It is newer than this program, or \
         broken"
    ))]
    Kind {
        /// Its number, from 0.
        index: usize,
        /// Offset of its entry.
        offset: usize,
        /// Type found.
        found: u32,
    },
    /// Flags that nobody defined.
    #[snafu(display(
        "TDVF section {index} ({name}) at {offset:#x}: attributes {found:#x}, wanted bits 0 and 1 only. It is \
         newer than this program, or broken"
    ))]
    Attributes {
        /// Its number, from 0.
        index: usize,
        /// Its type.
        name: &'static str,
        /// Offset of its entry.
        offset: usize,
        /// Flags found.
        found: u32,
    },
    /// Bytes of the file where there must be none, or none where there must be some.
    #[snafu(display(
        "TDVF section {index} ({name}) at {offset:#x}: {found:#x} bytes of the file, wanted {wanted}. The \
         image is broken"
    ))]
    Data {
        /// Its number, from 0.
        index: usize,
        /// Its type.
        name: &'static str,
        /// Offset of its entry.
        offset: usize,
        /// Bytes found.
        found: u32,
        /// `"some"` or `"none"`.
        wanted: &'static str,
    },
    /// More bytes of the file than of memory.
    #[snafu(display(
        "TDVF section {index} ({name}) at {offset:#x}: {data:#x} bytes of the file for {size:#x} of memory, \
         wanted no more than those. The image is broken"
    ))]
    Memory {
        /// Its number, from 0.
        index: usize,
        /// Its type.
        name: &'static str,
        /// Offset of its entry.
        offset: usize,
        /// Bytes of the file.
        data: u32,
        /// Bytes of memory.
        size: u64,
    },
    /// Bytes behind the end of the file.
    #[snafu(display(
        "TDVF section {index} ({name}) at {offset:#x}: bytes {start:#x} to {end:#x} of the file, wanted an \
         end at or below {max:#x}. The image is truncated or broken"
    ))]
    FileEnd {
        /// Its number, from 0.
        index: usize,
        /// Its type.
        name: &'static str,
        /// Offset of its entry.
        offset: usize,
        /// First byte.
        start: u32,
        /// After the last byte.
        end: usize,
        /// Length of the file.
        max: usize,
    },
    /// No hand-off block area, or several.
    #[snafu(display(
        "TDVF descriptor at {offset:#x}: {found} TD_HOB sections, wanted one. The image is broken"
    ))]
    HobCount {
        /// Offset of the descriptor.
        offset: usize,
        /// Sections found.
        found: usize,
    },
    /// No code.
    #[snafu(display(
        "TDVF descriptor at {offset:#x}: no BFV section, wanted one or more. The image is broken"
    ))]
    NoBootVolume {
        /// Offset of the descriptor.
        offset: usize,
    },
    /// The image is not built for TDX.
    #[snafu(display(
        "it has no TDVF metadata, so it cannot run in a TD. Use a build for TDX (OvmfPkg/IntelTdx or \
         OvmfPkg/OvmfPkgX64)"
    ))]
    NotForTdx,
    /// Sections that only td-shim has.
    #[snafu(display(
        "TDVF section {index} is {name}, which only td-shim has and no loader here launches. Use a build of \
         edk2 (OvmfPkg/IntelTdx or OvmfPkg/OvmfPkgX64)"
    ))]
    TdShim {
        /// Its number, from 0.
        index: usize,
        /// Its type.
        name: &'static str,
    },
    /// Memory that the firmware needs, and the guest does not have.
    #[snafu(display(
        "TDVF section {index} ({name}): {gpa:#x} with {size:#x} bytes, wanted inside the guest's RAM. Give the \
         guest more memory"
    ))]
    OutsideRam {
        /// Its number, from 0.
        index: usize,
        /// Its type.
        name: &'static str,
        /// Its address.
        gpa: u64,
        /// Its size.
        size: u64,
    },
    /// The hand-off blocks are longer than their section.
    #[snafu(display(
        "the hand-off blocks have {len:#x} bytes, and the TD_HOB section at {gpa:#x} only {size:#x}. Give \
         the guest fewer ranges of memory"
    ))]
    HobTooLong {
        /// Bytes of hand-off blocks.
        len: usize,
        /// Address of the section.
        gpa: u64,
        /// Its size.
        size: u64,
    },
}
