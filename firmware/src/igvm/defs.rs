//! What the format's numbers mean (IGVM specification, crate `igvm_defs` 0.5.0). Values from a file stay
//! open newtypes: one that nobody knows is data, to be named in an error.

use std::fmt;

/// `"IGVM"`, the first four bytes.
pub(crate) const MAGIC: u32 = u32::from_le_bytes(*b"IGVM");
/// Bytes of the fixed header of version 1.
pub(crate) const FIXED_V1: u64 = 24;
/// Bytes of the fixed header of version 2: architecture and page size behind that of version 1.
pub(crate) const FIXED_V2: u64 = 32;
/// `architecture` of a version 2 header: x86-64.
pub(crate) const ARCHITECTURE_X64: u32 = 0;
/// Type and length before every variable header.
pub(crate) const ENTRY_HEAD: usize = 8;
/// Bit of a type: a loader that does not know the type may pass over it.
pub(crate) const OPTIONAL: u32 = 1 << 31;
/// Bytes in a page.
pub(crate) const PAGE: u64 = 4096;

/// The most bytes of variable headers that are read: a million pages of data, 4 GiB, which is all that a
/// file's 32-bit offsets reach.
pub(crate) const MAX_HEADER_BYTES: u32 = 32 << 20;
/// The most variable headers.
pub(crate) const MAX_HEADERS: usize = 1 << 20;
/// The most bytes in all parameter areas together. Files in the field have three areas of a few pages.
pub(crate) const MAX_PARAMETER_BYTES: u64 = 16 << 20;
/// The end of the addresses that page tables can reach (52 bits, AMD APM vol. 2, 5.3).
pub(crate) const ADDRESS_END: u64 = 1 << 52;

/// The address at which KVM measures every VMSA: the highest page of 48 bits.
pub const KVM_VMSA_GPA: u64 = 0xffff_ffff_f000;

/// Types of variable headers.
pub(crate) mod kind {
    pub(crate) const SUPPORTED_PLATFORM: u32 = 0x001;
    pub(crate) const GUEST_POLICY: u32 = 0x101;
    pub(crate) const RELOCATABLE_REGION: u32 = 0x102;
    pub(crate) const PAGE_TABLE_RELOCATION: u32 = 0x103;
    pub(crate) const CORIM_DOCUMENT: u32 = 0x104;
    pub(crate) const CORIM_SIGNATURE: u32 = 0x105;
    pub(crate) const CCA_POLICY: u32 = 0x106;
    pub(crate) const VERSION_STRING: u32 = 0x107;
    pub(crate) const PARAMETER_AREA: u32 = 0x301;
    pub(crate) const PAGE_DATA: u32 = 0x302;
    pub(crate) const PARAMETER_INSERT: u32 = 0x303;
    pub(crate) const VP_CONTEXT: u32 = 0x304;
    pub(crate) const REQUIRED_MEMORY: u32 = 0x305;
    pub(crate) const VP_COUNT: u32 = 0x307;
    pub(crate) const SRAT: u32 = 0x308;
    pub(crate) const MADT: u32 = 0x309;
    pub(crate) const MMIO_RANGES: u32 = 0x30a;
    pub(crate) const SNP_ID_BLOCK: u32 = 0x30b;
    pub(crate) const MEMORY_MAP: u32 = 0x30c;
    pub(crate) const ERROR_RANGE: u32 = 0x30d;
    pub(crate) const COMMAND_LINE: u32 = 0x30e;
    pub(crate) const SLIT: u32 = 0x30f;
    pub(crate) const PPTT: u32 = 0x310;
    pub(crate) const VBS_MEASUREMENT: u32 = 0x311;
    pub(crate) const DEVICE_TREE: u32 = 0x312;
    pub(crate) const ENVIRONMENT_INFO: u32 = 0x313;
}

/// The three sections of variable headers, in the order that a file must have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Section {
    /// Which platforms the file is for.
    Platform,
    /// What a platform needs before memory is filled.
    Initialization,
    /// What is put into the guest, in order.
    Directive,
}

impl Section {
    /// The section that a type (without [`OPTIONAL`]) belongs to.
    pub(crate) fn of(kind: u32) -> Option<Self> {
        match kind {
            0x001..=0x100 => Some(Section::Platform),
            0x101..=0x200 => Some(Section::Initialization),
            0x301..=0x400 => Some(Section::Directive),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Section::Platform => "platform",
            Section::Initialization => "initialization",
            Section::Directive => "directive",
        }
    }
}

/// Name of a type of variable header (without [`OPTIONAL`]), as the specification has it.
pub(crate) fn kind_name(kind: u32) -> Option<&'static str> {
    Some(match kind {
        kind::SUPPORTED_PLATFORM => "SUPPORTED_PLATFORM",
        kind::GUEST_POLICY => "GUEST_POLICY",
        kind::RELOCATABLE_REGION => "RELOCATABLE_REGION",
        kind::PAGE_TABLE_RELOCATION => "PAGE_TABLE_RELOCATION_REGION",
        kind::CORIM_DOCUMENT => "CORIM_DOCUMENT",
        kind::CORIM_SIGNATURE => "CORIM_SIGNATURE",
        kind::CCA_POLICY => "CCA_POLICY",
        kind::VERSION_STRING => "VERSION_STRING",
        kind::PARAMETER_AREA => "PARAMETER_AREA",
        kind::PAGE_DATA => "PAGE_DATA",
        kind::PARAMETER_INSERT => "PARAMETER_INSERT",
        kind::VP_CONTEXT => "VP_CONTEXT",
        kind::REQUIRED_MEMORY => "REQUIRED_MEMORY",
        kind::VP_COUNT => "VP_COUNT_PARAMETER",
        kind::SRAT => "SRAT",
        kind::MADT => "MADT",
        kind::MMIO_RANGES => "MMIO_RANGES",
        kind::SNP_ID_BLOCK => "SNP_ID_BLOCK",
        kind::MEMORY_MAP => "MEMORY_MAP",
        kind::ERROR_RANGE => "ERROR_RANGE",
        kind::COMMAND_LINE => "COMMAND_LINE",
        kind::SLIT => "SLIT",
        kind::PPTT => "PPTT",
        kind::VBS_MEASUREMENT => "VBS_MEASUREMENT",
        kind::DEVICE_TREE => "DEVICE_TREE",
        kind::ENVIRONMENT_INFO => "ENVIRONMENT_INFO_PARAMETER",
        _ => return None,
    })
}

/// A platform that a file can be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlatformType(pub u8);

impl PlatformType {
    /// No isolation.
    pub const NATIVE: Self = PlatformType(0);
    /// Hyper-V's virtual secure mode.
    pub const VSM: Self = PlatformType(1);
    /// AMD SEV-SNP.
    pub const SEV_SNP: Self = PlatformType(2);
    /// Intel TDX.
    pub const TDX: Self = PlatformType(3);
    /// AMD SEV.
    pub const SEV: Self = PlatformType(4);
    /// AMD SEV-ES.
    pub const SEV_ES: Self = PlatformType(5);
    /// Arm CCA.
    pub const CCA: Self = PlatformType(6);

    /// Whether a VP_CONTEXT of this platform is a VMSA.
    pub(crate) fn has_vmsa(self) -> bool {
        self == Self::SEV_SNP || self == Self::SEV_ES
    }

    /// Whether a VP_CONTEXT of this platform is a page with the registers of a plain guest.
    pub(crate) fn has_registers(self) -> bool {
        self == Self::NATIVE || self == Self::SEV
    }
}

impl fmt::Display for PlatformType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::NATIVE => "native",
            Self::VSM => "VSM",
            Self::SEV_SNP => "SEV-SNP",
            Self::TDX => "TDX",
            Self::SEV => "SEV",
            Self::SEV_ES => "SEV-ES",
            Self::CCA => "CCA",
            PlatformType(other) => return write!(f, "platform type {other}"),
        })
    }
}

/// What a page of data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageDataType(pub u16);

impl PageDataType {
    /// Bytes, or zeros.
    pub const NORMAL: Self = PageDataType(0);
    /// The platform's secrets.
    pub const SECRETS: Self = PageDataType(1);
    /// The CPUID table.
    pub const CPUID_DATA: Self = PageDataType(2);
    /// The CPUID table's leaves about XSAVE.
    pub const CPUID_XF: Self = PageDataType(3);
}

impl fmt::Display for PageDataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::NORMAL => "NORMAL",
            Self::SECRETS => "SECRETS",
            Self::CPUID_DATA => "CPUID_DATA",
            Self::CPUID_XF => "CPUID_XF",
            PageDataType(other) => return write!(f, "data type {other}"),
        })
    }
}

/// Flags of a page of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PageFlags(pub u32);

impl PageFlags {
    /// A page of 2 MiB.
    pub const LARGE: Self = PageFlags(1);
    /// The contents are not measured.
    pub const UNMEASURED: Self = PageFlags(1 << 1);
    /// The page is shared with the host.
    pub const SHARED: Self = PageFlags(1 << 2);
    /// Every flag there is.
    pub(crate) const ALL: Self = PageFlags(0b111);

    /// Whether all bits of `other` are set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What the loader writes into a parameter area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterKind(pub(crate) u32);

impl ParameterKind {
    /// Number of vCPUs, u32.
    pub const VP_COUNT: Self = ParameterKind(kind::VP_COUNT);
    /// ACPI table SRAT.
    pub const SRAT: Self = ParameterKind(kind::SRAT);
    /// ACPI table MADT.
    pub const MADT: Self = ParameterKind(kind::MADT);
    /// Two ranges for device registers.
    pub const MMIO_RANGES: Self = ParameterKind(kind::MMIO_RANGES);
    /// The memory map.
    pub const MEMORY_MAP: Self = ParameterKind(kind::MEMORY_MAP);
    /// The command line, NUL terminated.
    pub const COMMAND_LINE: Self = ParameterKind(kind::COMMAND_LINE);
    /// ACPI table SLIT.
    pub const SLIT: Self = ParameterKind(kind::SLIT);
    /// ACPI table PPTT.
    pub const PPTT: Self = ParameterKind(kind::PPTT);
    /// A device tree.
    pub const DEVICE_TREE: Self = ParameterKind(kind::DEVICE_TREE);
    /// A u32 of flags about the machine.
    pub const ENVIRONMENT_INFO: Self = ParameterKind(kind::ENVIRONMENT_INFO);

    /// Its name in the specification.
    pub fn name(self) -> &'static str {
        kind_name(self.0).unwrap_or("parameter")
    }

    /// The least bytes that it takes.
    pub(crate) fn least_bytes(self) -> u64 {
        match self {
            Self::VP_COUNT | Self::ENVIRONMENT_INFO => 4,
            // Two ranges of two u64.
            Self::MMIO_RANGES => 32,
            // One entry.
            Self::MEMORY_MAP => 24,
            // An ACPI table's header; a device tree's is longer.
            Self::SRAT | Self::MADT | Self::SLIT | Self::PPTT | Self::DEVICE_TREE => 36,
            // The NUL.
            _ => 1,
        }
    }
}
