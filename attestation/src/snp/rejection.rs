//! Why a report is refused: a variant for every condition, with what was found and what was wanted.

use snafu::Snafu;

use super::{Component, Product};
use crate::certs::{CertError, CertificateRole as Role, CrlError, TableError};
use crate::time::UnixTime;

/// Why a report is refused.
#[derive(Debug, Clone, PartialEq, Eq, Snafu)]
#[snafu(visibility(pub(super)))]
#[non_exhaustive]
#[allow(missing_docs)] // the fields are named as they are printed: what was found, what was wanted
pub enum Rejection {
    // Step 1, form.
    #[snafu(display("the report has {found} bytes, a report has exactly 1184"))]
    BadLength { found: usize },
    #[snafu(display("VERSION is {found}, versions 2 to 5 are known"))]
    UnsupportedVersion { found: u32 },
    #[snafu(display("SIGNATURE_ALGO is {found}, only 1 (ECDSA P-384 with SHA-384) is known"))]
    UnsupportedAlgorithm { found: u32 },
    #[snafu(display("reserved byte {offset:#x} is {found:#04x}, it must be 0"))]
    ReservedNotZero { offset: usize, found: u8 },
    #[snafu(display("the signature's number at {offset:#x} is not between 1 and the order of P-384"))]
    SignatureRange { offset: usize },

    // Step 3, the signing key.
    #[snafu(display("SIGNING_KEY is {found}, only 0 (VCEK) and 1 (VLEK) sign"))]
    UnsupportedSigningKey { found: u32 },
    #[snafu(display("MASK_CHIP_KEY is set: the report has no signature"))]
    MaskedChipKey,
    #[snafu(display("the report is signed by a {wanted}, and no certificate for it came along"))]
    NoEndorsement { wanted: Role },
    #[snafu(display("the report is signed by a {wanted}, the certificate that came along is a {found}"))]
    KeyTypeMismatch { found: Role, wanted: Role },

    // Step 4, the chain.
    #[snafu(display("{source}"))]
    BadCertTable { source: TableError },
    #[snafu(display("the {role} certificate cannot be used: {source}"))]
    BadCertificate { role: Role, source: CertError },
    #[snafu(display("the root (SHA-256 {found}) is not one of the pinned ones"))]
    UntrustedRoot { found: String },
    #[snafu(display("the {role} is not signed by the {issuer}"))]
    ChainSignature { role: Role, issuer: Role },
    #[snafu(display("the {role}'s issuer is \"{found}\", the certificate above it is \"{wanted}\""))]
    ChainName { role: Role, found: String, wanted: String },
    #[snafu(display("the {role} may not sign certificates"))]
    NotCa { role: Role },
    #[snafu(display("CPUID family {:#x}, model {:#x}, stepping {:#x} is no known product", found[0], found[1], found[2]))]
    UnknownProduct { found: [u8; 3] },
    #[snafu(display("the report comes from {found} by its CPUID, its certificates are for {wanted}"))]
    ProductMismatch { found: Product, wanted: Product },
    #[snafu(display("productName1 of the certificate is \"{found}\", its chain is {wanted}'s"))]
    ProductNameMismatch { found: String, wanted: Product },
    #[snafu(display(
        "evidence is signed by Cloister's simulator; it says nothing about hardware; \
         allow-sim is false in the policy, and should stay so outside of tests"
    ))]
    Simulated,

    // Step 5, time and revocation.
    #[snafu(display("the {role} is valid from {wanted} on, it is {found}"))]
    CertNotYetValid { role: Role, found: UnixTime, wanted: UnixTime },
    #[snafu(display("the {role} was valid until {wanted}, it is {found}"))]
    CertExpired { role: Role, found: UnixTime, wanted: UnixTime },
    #[snafu(display("no revocation list came along, and the policy requires one"))]
    CrlMissing,
    #[snafu(display("the revocation list cannot be used: {source}"))]
    BadCrl { source: CrlError },
    #[snafu(display("the revocation list is not signed by the ARK"))]
    CrlSignature,
    #[snafu(display("the revocation list is current from {from} to {until}, it is {found}"))]
    CrlNotCurrent { found: UnixTime, from: UnixTime, until: UnixTime },
    #[snafu(display("the {role} is revoked"))]
    Revoked { role: Role },

    // Step 2, with the key that the steps before have established.
    #[snafu(display("the report's signature does not verify with the {key}'s key"))]
    ReportSignature { key: Role },

    // Step 6, what binds the report to its certificate.
    #[snafu(display("the {role} has no usable extension {name}"))]
    BadExtension { role: Role, name: &'static str },
    #[snafu(display("REPORTED_TCB has {component} {found}, the certificate is for {wanted}"))]
    TcbMismatch { component: Component, found: u8, wanted: u8 },
    #[snafu(display("CHIP_ID is masked, so the report cannot be bound to the VCEK's chip"))]
    ChipIdMasked,
    #[snafu(display("CHIP_ID is {found}, the VCEK is for chip {wanted}"))]
    ChipIdMismatch { found: String, wanted: String },

    // Step 7, TCB and provenance by policy.
    #[snafu(display("the product is {found}, the policy accepts {wanted}"))]
    PolicyProduct { found: Product, wanted: String },
    #[snafu(display("CHIP_ID {found} is not in the policy's list"))]
    PolicyChipId { found: String },
    #[snafu(display("cspID \"{found}\" is not in the policy's list"))]
    PolicyCspId { found: String },
    #[snafu(display("{field} has {component} {found}, the policy wants at least {wanted}"))]
    TcbTooLow { field: &'static str, component: Component, found: u8, wanted: u8 },
    #[snafu(display("CURRENT_TCB ({found}) is not COMMITTED_TCB ({wanted}): the firmware is provisional"))]
    ProvisionalFirmware { found: String, wanted: String },
    #[snafu(display("{field} is {found:#x}, the policy wants the bits {wanted:#x}"))]
    MitigationMissing { field: &'static str, found: u64, wanted: u64 },

    // Step 8, guest policy and platform.
    #[snafu(display("the guest was launched with DEBUG: the host can read its memory"))]
    PolicyDebug,
    #[snafu(display("the guest was launched with MIGRATE_MA: a migration agent can move it"))]
    PolicyMigrationAgent,
    #[snafu(display("REPORT_ID_MA is {found}: a migration agent is associated"))]
    MigrationAgent { found: String },
    #[snafu(display("bit 17 of POLICY is 0, it is always 1"))]
    PolicyReserved,
    #[snafu(display("the guest asks for ABI {}.{}, the policy wants at least {}.{}", found.0, found.1, wanted.0, wanted.1))]
    PolicyAbi { found: (u8, u8), wanted: (u8, u8) },
    #[snafu(display("the guest's POLICY has {bit} {found}, the policy wants {wanted}"))]
    PolicyBit { bit: &'static str, found: bool, wanted: bool },
    #[snafu(display("PLATFORM_INFO has {bit} {found}, the policy wants {wanted}"))]
    PlatformBit { bit: &'static str, found: bool, wanted: bool },

    // Step 9.
    #[snafu(display("VMPL is {found}, the policy wants {wanted}"))]
    VmplMismatch { found: u32, wanted: u32 },

    // Step 10, identity.
    #[snafu(display("MEASUREMENT is {found}, the policy accepts {wanted}"))]
    MeasurementMismatch { found: String, wanted: String },
    #[snafu(display("ID_KEY_DIGEST is {found}, the policy accepts {wanted}"))]
    IdKeyMismatch { found: String, wanted: String },
    #[snafu(display("AUTHOR_KEY_DIGEST is {found}, the policy accepts {wanted}"))]
    AuthorKeyMismatch { found: String, wanted: String },
    #[snafu(display("{field} is {found}, the policy wants {wanted}"))]
    IdMismatch { field: &'static str, found: String, wanted: String },
    #[snafu(display("GUEST_SVN is {found}, the policy wants at least {wanted}"))]
    GuestSvnTooLow { found: u32, wanted: u32 },

    // Step 11, bindings.
    #[snafu(display("HOST_DATA is {found}, {by} wants {wanted}"))]
    HostDataMismatch { by: &'static str, found: String, wanted: String },
    #[snafu(display(
        "REPORT_DATA is {found}, this session's is {wanted}: the evidence was made for another"
    ))]
    ReportDataMismatch { found: String, wanted: String },
}

impl Rejection {
    /// The condition's name, for machines: coarser than the variants where a distinction helps nobody.
    pub fn class(&self) -> &'static str {
        match self {
            Self::BadLength { .. }
            | Self::ReservedNotZero { .. }
            | Self::SignatureRange { .. }
            | Self::BadCertTable { .. }
            | Self::BadCertificate { .. }
            | Self::BadExtension { .. } => "Malformed",
            Self::UnsupportedVersion { .. } => "UnsupportedVersion",
            Self::UnsupportedAlgorithm { .. } => "UnsupportedAlgorithm",
            Self::UnsupportedSigningKey { .. } | Self::KeyTypeMismatch { .. } => "KeyTypeMismatch",
            Self::MaskedChipKey => "MaskedChipKey",
            Self::NoEndorsement { .. } => "NoEndorsement",
            Self::UntrustedRoot { .. } => "UntrustedRoot",
            Self::ChainSignature { .. } | Self::ChainName { .. } | Self::NotCa { .. } => "ChainSignature",
            Self::UnknownProduct { .. } | Self::ProductMismatch { .. } | Self::ProductNameMismatch { .. } => {
                "ProductMismatch"
            }
            Self::Simulated => "Simulated",
            Self::CertNotYetValid { .. } => "CertNotYetValid",
            Self::CertExpired { .. } => "CertExpired",
            Self::CrlMissing => "RevocationUnknown",
            Self::BadCrl { .. } | Self::CrlSignature => "CrlSignature",
            Self::CrlNotCurrent { .. } => "CrlExpired",
            Self::Revoked { .. } => "Revoked",
            Self::ReportSignature { .. } => "ReportSignature",
            Self::TcbMismatch { .. } => "TcbMismatch",
            Self::ChipIdMasked | Self::ChipIdMismatch { .. } => "ChipIdMismatch",
            Self::PolicyProduct { .. } => "PolicyProduct",
            Self::PolicyChipId { .. } => "PolicyChipId",
            Self::PolicyCspId { .. } => "PolicyCspId",
            Self::TcbTooLow { .. } => "TcbTooLow",
            Self::ProvisionalFirmware { .. } => "ProvisionalFirmware",
            Self::MitigationMissing { .. } => "MitigationMissing",
            Self::PolicyDebug => "PolicyDebug",
            Self::PolicyMigrationAgent | Self::MigrationAgent { .. } => "PolicyMigrateMa",
            Self::PolicyReserved | Self::PolicyAbi { .. } | Self::PolicyBit { .. } => "PolicyGuest",
            Self::PlatformBit { .. } => "PolicyPlatform",
            Self::VmplMismatch { .. } => "PolicyVmpl",
            Self::MeasurementMismatch { .. } => "MeasurementMismatch",
            Self::IdKeyMismatch { .. } | Self::AuthorKeyMismatch { .. } | Self::IdMismatch { .. } => {
                "IdentityMismatch"
            }
            Self::GuestSvnTooLow { .. } => "GuestSvnTooLow",
            Self::HostDataMismatch { .. } => "HostDataMismatch",
            Self::ReportDataMismatch { .. } => "ReportDataMismatch",
        }
    }
}
