//! The headers of a file as values, and each of them from its bytes.

use snafu::ensure;

use super::defs::{PAGE, PageDataType, PageFlags, ParameterKind, PlatformType, kind};
use super::entry::Entry;
use super::error::*;
use super::id_block::IdBlockHeader;

/// A variable header, with its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header<T> {
    /// Offset from the start of the file.
    pub offset: u64,
    /// What it says.
    pub body: T,
}

/// SUPPORTED_PLATFORM: one platform that the file can be launched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Platform {
    /// The bit that other headers name it by.
    pub mask: u32,
    /// Highest virtual trust level.
    pub highest_vtl: u8,
    /// Which.
    pub platform: PlatformType,
    /// Memory above it is shared; 0 for none.
    pub shared_boundary: u64,
}

impl Platform {
    pub(super) fn parse(e: &Entry<'_>) -> Result<Self, IgvmError> {
        e.sized(16)?;
        let [highest_vtl, platform] = e.bytes(4);
        let this = Platform {
            mask: e.u32(0),
            highest_vtl,
            platform: PlatformType(platform),
            shared_boundary: e.u64(8),
        };
        let refuse = |field, found, wanted| PlatformSnafu { offset: e.offset, field, found, wanted };
        ensure!(
            this.mask.is_power_of_two(),
            MaskSnafu { name: e.name(), offset: e.offset, found: this.mask, wanted: "one bit" }
        );
        ensure!(matches!(highest_vtl, 0 | 2), refuse("highest_vtl", highest_vtl.into(), "0 or 2"));
        ensure!(platform <= 5, refuse("platform_type", platform.into(), "0 to 5 on x86-64"));
        ensure!(e.u16(6) == 1, refuse("platform_version", e.u16(6).into(), "1"));
        let plain = matches!(this.platform, PlatformType::NATIVE | PlatformType::VSM);
        let boundary = this.shared_boundary;
        ensure!(!plain || boundary == 0, refuse("shared_gpa_boundary", boundary, "zero"));
        Ok(this)
    }
}

/// A header of the initialization section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initialization {
    /// GUEST_POLICY.
    GuestPolicy {
        /// The platform's policy.
        policy: u64,
        /// For which platforms.
        mask: u32,
    },
    /// One that says nothing to a loader that leaves everything where it is: relocations, documents for
    /// verifiers, what is for other architectures, and what is optional and unknown.
    Passed {
        /// Its type.
        kind: u32,
        /// Its length.
        len: u32,
    },
}

impl Initialization {
    pub(super) fn parse(e: &Entry<'_>) -> Result<Self, IgvmError> {
        let len = e.len();
        match e.kind {
            kind::GUEST_POLICY => {
                e.sized(16)?;
                e.zero("reserved", e.u32(12))?;
                return Ok(Initialization::GuestPolicy { policy: e.u64(0), mask: e.u32(8) });
            }
            kind::RELOCATABLE_REGION => e.sized(48)?,
            kind::PAGE_TABLE_RELOCATION => e.sized(32)?,
            kind::CORIM_DOCUMENT | kind::CORIM_SIGNATURE => {
                e.sized(16)?;
                e.zero("reserved", e.u32(12))?;
                e.data(e.u32(4), e.u32(8).into())?;
            }
            kind::CCA_POLICY => e.sized(32)?,
            kind::VERSION_STRING => {}
            found => ensure!(e.optional, UnknownTypeSnafu { offset: e.offset, found }),
        }
        Ok(Initialization::Passed { kind: e.kind, len })
    }
}

impl Initialization {
    /// Its name in the specification.
    pub fn name(&self) -> &'static str {
        let known = match self {
            Initialization::GuestPolicy { .. } => kind::GUEST_POLICY,
            Initialization::Passed { kind, .. } => *kind,
        };
        super::defs::kind_name(known).unwrap_or("unknown")
    }
}

/// A header of the directive section. Data offsets are from the start of the file and lie inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Directive {
    /// PARAMETER_AREA: bytes that the loader fills before they are inserted.
    ParameterArea {
        /// Its length.
        bytes: u64,
        /// Its number.
        index: u32,
        /// Where its first contents are; zeros without.
        data: Option<u64>,
    },
    /// PAGE_DATA: a page.
    PageData {
        /// Where.
        gpa: u64,
        /// For which platforms.
        mask: u32,
        /// Where its contents are; zeros without.
        data: Option<u64>,
        /// Flags.
        flags: PageFlags,
        /// What it is.
        data_type: PageDataType,
    },
    /// PARAMETER_INSERT: an area becomes unmeasured pages.
    ParameterInsert {
        /// Where.
        gpa: u64,
        /// For which platforms.
        mask: u32,
        /// Which area.
        index: u32,
        /// The area's length.
        bytes: u64,
    },
    /// VP_CONTEXT: the state of a vCPU.
    VpContext {
        /// Where a VMSA lies.
        gpa: u64,
        /// For which platforms.
        mask: u32,
        /// Where the state is in the file.
        data: u64,
        /// Which vCPU.
        vp_index: u16,
    },
    /// REQUIRED_MEMORY: RAM that must be there.
    RequiredMemory {
        /// Where.
        gpa: u64,
        /// For which platforms.
        mask: u32,
        /// Its length.
        bytes: u64,
    },
    /// One of the values that the loader writes into a parameter area.
    Parameter {
        /// What.
        kind: ParameterKind,
        /// Into which area.
        index: u32,
        /// Where in it.
        at: u32,
    },
    /// SNP_ID_BLOCK.
    SnpIdBlock(Box<IdBlockHeader>),
    /// ERROR_RANGE: shared pages for the guest to complain in.
    ErrorRange {
        /// Where.
        gpa: u64,
        /// For which platforms.
        mask: u32,
        /// Its length.
        bytes: u64,
    },
    /// VBS_MEASUREMENT, or one that is optional and unknown.
    Passed {
        /// Its type.
        kind: u32,
        /// Its length.
        len: u32,
    },
}

impl Directive {
    /// Reads one. What depends on others, such as the platforms, is checked later.
    pub(super) fn parse(e: &Entry<'_>) -> Result<Self, IgvmError> {
        Ok(match e.kind {
            kind::PARAMETER_AREA => {
                e.sized(16)?;
                let bytes = e.aligned("number_of_bytes", e.u64(0))?;
                Directive::ParameterArea { bytes, index: e.u32(8), data: e.optional_data(e.u32(12), bytes)? }
            }
            kind::PAGE_DATA => Self::page_data(e)?,
            kind::PARAMETER_INSERT => {
                e.sized(16)?;
                let gpa = e.pages(e.u64(0), PAGE)?;
                Directive::ParameterInsert { gpa, mask: e.u32(8), index: e.u32(12), bytes: 0 }
            }
            kind::VP_CONTEXT => {
                e.sized(20)?;
                e.zero("reserved", e.u16(18))?;
                let gpa = e.pages(e.u64(0), PAGE)?;
                // A page on all platforms but VSM, whose list of registers is never read.
                let data = e.data(e.u32(12), 1)?;
                Directive::VpContext { gpa, mask: e.u32(8), data, vp_index: e.u16(16) }
            }
            kind::REQUIRED_MEMORY => {
                e.sized(24)?;
                e.zero("flags", e.u32(16) & !1)?;
                e.zero("reserved", e.u32(20))?;
                let bytes = e.aligned("number_of_bytes", e.u32(12).into())?;
                Directive::RequiredMemory { gpa: e.pages(e.u64(0), bytes)?, mask: e.u32(8), bytes }
            }
            kind::ERROR_RANGE => {
                e.sized(16)?;
                let bytes = e.aligned("size_bytes", e.u32(12).into())?;
                Directive::ErrorRange { gpa: e.pages(e.u64(0), bytes)?, mask: e.u32(8), bytes }
            }
            kind::VP_COUNT
            | kind::SRAT
            | kind::MADT
            | kind::MMIO_RANGES
            | kind::MEMORY_MAP
            | kind::COMMAND_LINE
            | kind::SLIT
            | kind::PPTT
            | kind::DEVICE_TREE
            | kind::ENVIRONMENT_INFO => {
                e.sized(8)?;
                Directive::Parameter { kind: ParameterKind(e.kind), index: e.u32(0), at: e.u32(4) }
            }
            kind::SNP_ID_BLOCK => Directive::SnpIdBlock(Box::new(IdBlockHeader::parse(e)?)),
            kind::VBS_MEASUREMENT => {
                e.sized(864)?;
                Directive::Passed { kind: e.kind, len: e.len() }
            }
            found => {
                ensure!(e.optional, UnknownTypeSnafu { offset: e.offset, found });
                Directive::Passed { kind: found, len: e.len() }
            }
        })
    }

    fn page_data(e: &Entry<'_>) -> Result<Self, IgvmError> {
        e.sized(24)?;
        let (flags, data_type) = (PageFlags(e.u32(16)), PageDataType(e.u16(20)));
        e.zero("flags", flags.0 & !PageFlags::ALL.0)?;
        e.zero("reserved", e.u16(22))?;
        ensure!(!flags.has(PageFlags::LARGE), LargePageSnafu { offset: e.offset });
        ensure!(data_type.0 <= 3, DataTypeSnafu { offset: e.offset, found: data_type });
        let (gpa, data) = (e.pages(e.u64(0), PAGE)?, e.optional_data(e.u32(12), PAGE)?);
        Ok(Directive::PageData { gpa, mask: e.u32(8), data, flags, data_type })
    }

    /// The platforms that it is for, or `None` if it is for all.
    pub fn mask(&self) -> Option<u32> {
        match self {
            Directive::PageData { mask, .. }
            | Directive::ParameterInsert { mask, .. }
            | Directive::VpContext { mask, .. }
            | Directive::RequiredMemory { mask, .. }
            | Directive::ErrorRange { mask, .. } => Some(*mask),
            Directive::SnpIdBlock(block) => Some(block.mask),
            Directive::ParameterArea { .. } | Directive::Parameter { .. } | Directive::Passed { .. } => None,
        }
    }

    /// Its name in the specification.
    pub fn name(&self) -> &'static str {
        let known = match self {
            Directive::ParameterArea { .. } => kind::PARAMETER_AREA,
            Directive::PageData { .. } => kind::PAGE_DATA,
            Directive::ParameterInsert { .. } => kind::PARAMETER_INSERT,
            Directive::VpContext { .. } => kind::VP_CONTEXT,
            Directive::RequiredMemory { .. } => kind::REQUIRED_MEMORY,
            Directive::Parameter { kind, .. } => kind.0,
            Directive::SnpIdBlock(_) => kind::SNP_ID_BLOCK,
            Directive::ErrorRange { .. } => kind::ERROR_RANGE,
            Directive::Passed { kind, .. } => *kind,
        };
        super::defs::kind_name(known).unwrap_or("unknown")
    }

    /// The addresses that it fills, as (first, bytes).
    pub(super) fn fills(&self) -> Option<(u64, u64)> {
        match self {
            Directive::PageData { gpa, .. } => Some((*gpa, PAGE)),
            Directive::ParameterInsert { gpa, bytes, .. } => Some((*gpa, *bytes)),
            _ => None,
        }
    }
}
