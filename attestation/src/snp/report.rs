//! A report whose form was checked, with accessors that read the bytes as they were received.

use std::fmt;

use super::layout::{self as at, REPORT_LEN, SIGNED_LEN};
use super::{Product, Rejection, Tcb};

/// The order of P-384, big-endian: r and s are between 1 and this, exclusive (FIPS 186-5).
const P384_ORDER: [u8; 48] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf, 0x58, 0x1a,
    0x0d, 0xb2, 0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
];

/// SIGNATURE_ALGO of ECDSA P-384 with SHA-384, the only one.
const ECDSA_P384_SHA384: u32 = 1;

/// Which key signed a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningKey {
    /// The chip's own.
    Vcek,
    /// One that the provider loaded.
    Vlek,
}

/// KEY_INFO. Bits: 0 AUTHOR_KEY_EN, 1 MASK_CHIP_KEY, 4:2 SIGNING_KEY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyInfo(pub u32);

impl KeyInfo {
    /// Whether AUTHOR_KEY_DIGEST means something.
    pub fn author_key_enabled(self) -> bool {
        self.0 & 1 != 0
    }

    /// Whether the chip's key was masked; the signature is zero then.
    pub fn chip_key_masked(self) -> bool {
        self.0 & 2 != 0
    }

    /// SIGNING_KEY as a number.
    pub fn signing_key_bits(self) -> u32 {
        (self.0 >> 2) & 7
    }

    /// SIGNING_KEY, if it is one of the two that sign.
    pub fn signing_key(self) -> Option<SigningKey> {
        match self.signing_key_bits() {
            0 => Some(SigningKey::Vcek),
            1 => Some(SigningKey::Vlek),
            _ => None,
        }
    }
}

/// POLICY of the guest: what it allowed at launch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct GuestPolicy(pub u64);

impl GuestPolicy {
    /// Minimum ABI: major, minor.
    pub fn abi(self) -> (u8, u8) {
        let [minor, major, ..] = self.0.to_le_bytes();
        (major, minor)
    }

    fn bit(self, bit: u32) -> bool {
        self.0.wrapping_shr(bit) & 1 != 0
    }

    /// Bit 16: SMT allowed.
    pub fn smt(self) -> bool {
        self.bit(16)
    }
    /// Bit 17: always one.
    pub fn reserved_one(self) -> bool {
        self.bit(17)
    }
    /// Bit 18: a migration agent may be associated.
    pub fn migration_agent(self) -> bool {
        self.bit(18)
    }
    /// Bit 19: the host may read and write the guest's memory for debugging.
    pub fn debug(self) -> bool {
        self.bit(19)
    }
    /// Bit 20: one socket only.
    pub fn single_socket(self) -> bool {
        self.bit(20)
    }
    /// Bit 21: CXL devices with memory allowed.
    pub fn cxl(self) -> bool {
        self.bit(21)
    }
    /// Bit 22: memory encryption must be AES-256-XTS.
    pub fn aes_256_xts(self) -> bool {
        self.bit(22)
    }
    /// Bit 23: RAPL must be disabled.
    pub fn rapl_disabled(self) -> bool {
        self.bit(23)
    }
    /// Bit 24: ciphertext hiding must be enabled.
    pub fn ciphertext_hiding(self) -> bool {
        self.bit(24)
    }
    /// Bit 25: guest page swap disabled; from version 5.
    pub fn page_swap_disabled(self) -> bool {
        self.bit(25)
    }
}

impl fmt::Debug for GuestPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// PLATFORM_INFO: what the machine is set to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PlatformInfo(pub u64);

impl PlatformInfo {
    /// Bit 0: SMT is on.
    pub fn smt(self) -> bool {
        self.0 & 1 != 0
    }
    /// Bit 1: transparent memory encryption is on.
    pub fn tsme(self) -> bool {
        self.0 & 2 != 0
    }
    /// Bit 2: memory is ECC.
    pub fn ecc(self) -> bool {
        self.0 & 4 != 0
    }
    /// Bit 4: ciphertext hiding is on.
    pub fn ciphertext_hiding(self) -> bool {
        self.0 & 0x10 != 0
    }
    /// Bit 5: memory was checked for aliases since boot (AMD-SB-3015, "BadRAM").
    pub fn alias_check_complete(self) -> bool {
        self.0 & 0x20 != 0
    }
}

impl fmt::Debug for PlatformInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A report of proper form. Its signature may still be anything.
#[derive(Clone)]
pub struct Report {
    bytes: [u8; REPORT_LEN],
}

impl Report {
    /// Step 1: exact length, a known version and algorithm, reserved fields zero, r and s in range.
    pub fn parse(bytes: &[u8]) -> Result<Self, Rejection> {
        let bytes: [u8; REPORT_LEN] =
            bytes.try_into().map_err(|_| Rejection::BadLength { found: bytes.len() })?;
        let report = Self { bytes };
        // Version 4 has the layout of version 3. Later ones are unknown, and unknown fails closed.
        if !matches!(report.version(), 2..=5) {
            return Err(Rejection::UnsupportedVersion { found: report.version() });
        }
        let algorithm = u32::from_le_bytes(report.get(at::SIGNATURE_ALGO));
        if algorithm != ECDSA_P384_SHA384 {
            return Err(Rejection::UnsupportedAlgorithm { found: algorithm });
        }
        report.zero(at::RESERVED_4C, 4)?;
        report.zero(at::RESERVED_TAIL, REPORT_LEN.saturating_sub(at::RESERVED_TAIL))?;
        for offset in [at::SIGNATURE_R, at::SIGNATURE_S] {
            report.zero(offset.saturating_add(48), 24)?;
            let scalar = report.scalar(offset);
            if scalar == [0; 48] || scalar >= P384_ORDER {
                return Err(Rejection::SignatureRange { offset });
            }
        }
        Ok(report)
    }

    fn get<const N: usize>(&self, offset: usize) -> [u8; N] {
        // Every offset of `layout` is inside: a test reads all accessors.
        at::field(&self.bytes, offset).unwrap_or([0; N])
    }

    fn zero(&self, offset: usize, len: usize) -> Result<(), Rejection> {
        let found = self.bytes.iter().enumerate().skip(offset).take(len).find(|(_, b)| **b != 0);
        found.map_or(Ok(()), |(offset, &found)| Err(Rejection::ReservedNotZero { offset, found }))
    }

    /// A number of the signature, big-endian.
    fn scalar(&self, offset: usize) -> [u8; 48] {
        let mut scalar: [u8; 48] = self.get(offset);
        scalar.reverse();
        scalar
    }

    /// The bytes that are signed, as received.
    pub fn signed_bytes(&self) -> &[u8] {
        self.bytes.get(..SIGNED_LEN).unwrap_or_default()
    }

    /// All bytes, as received.
    pub fn bytes(&self) -> &[u8; REPORT_LEN] {
        &self.bytes
    }

    /// r and s, big-endian.
    pub fn signature(&self) -> [u8; 96] {
        let mut signature = [0; 96];
        let both = self.scalar(at::SIGNATURE_R).into_iter().chain(self.scalar(at::SIGNATURE_S));
        signature.iter_mut().zip(both).for_each(|(to, from)| *to = from);
        signature
    }

    /// VERSION.
    pub fn version(&self) -> u32 {
        u32::from_le_bytes(self.get(at::VERSION))
    }
    /// GUEST_SVN.
    pub fn guest_svn(&self) -> u32 {
        u32::from_le_bytes(self.get(at::GUEST_SVN))
    }
    /// POLICY.
    pub fn policy(&self) -> GuestPolicy {
        GuestPolicy(u64::from_le_bytes(self.get(at::POLICY)))
    }
    /// FAMILY_ID.
    pub fn family_id(&self) -> [u8; 16] {
        self.get(at::FAMILY_ID)
    }
    /// IMAGE_ID.
    pub fn image_id(&self) -> [u8; 16] {
        self.get(at::IMAGE_ID)
    }
    /// VMPL of the requester; all ones for a request of the host.
    pub fn vmpl(&self) -> u32 {
        u32::from_le_bytes(self.get(at::VMPL))
    }
    /// CURRENT_TCB.
    pub fn current_tcb(&self) -> Tcb {
        Tcb(self.get(at::CURRENT_TCB))
    }
    /// PLATFORM_INFO.
    pub fn platform_info(&self) -> PlatformInfo {
        PlatformInfo(u64::from_le_bytes(self.get(at::PLATFORM_INFO)))
    }
    /// KEY_INFO.
    pub fn key_info(&self) -> KeyInfo {
        KeyInfo(u32::from_le_bytes(self.get(at::KEY_INFO)))
    }
    /// REPORT_DATA.
    pub fn report_data(&self) -> [u8; 64] {
        self.get(at::REPORT_DATA)
    }
    /// MEASUREMENT.
    pub fn measurement(&self) -> [u8; 48] {
        self.get(at::MEASUREMENT)
    }
    /// HOST_DATA.
    pub fn host_data(&self) -> [u8; 32] {
        self.get(at::HOST_DATA)
    }
    /// ID_KEY_DIGEST.
    pub fn id_key_digest(&self) -> [u8; 48] {
        self.get(at::ID_KEY_DIGEST)
    }
    /// AUTHOR_KEY_DIGEST, if KEY_INFO says that there is one.
    pub fn author_key_digest(&self) -> Option<[u8; 48]> {
        self.key_info().author_key_enabled().then(|| self.get(at::AUTHOR_KEY_DIGEST))
    }
    /// REPORT_ID.
    pub fn report_id(&self) -> [u8; 32] {
        self.get(at::REPORT_ID)
    }
    /// REPORT_ID_MA: all ones without a migration agent.
    pub fn report_id_ma(&self) -> [u8; 32] {
        self.get(at::REPORT_ID_MA)
    }
    /// REPORTED_TCB.
    pub fn reported_tcb(&self) -> Tcb {
        Tcb(self.get(at::REPORTED_TCB))
    }
    /// CPUID family, model and stepping; from version 3.
    pub fn cpuid(&self) -> Option<[u8; 3]> {
        (self.version() >= 3).then(|| self.get(at::CPUID))
    }
    /// The product by CPUID; the error holds a CPUID that is not known.
    pub fn product(&self) -> Result<Option<Product>, [u8; 3]> {
        let Some(cpuid @ [family, model, stepping]) = self.cpuid() else { return Ok(None) };
        Product::from_cpuid(family, model, stepping).map(Some).ok_or(cpuid)
    }
    /// CHIP_ID.
    pub fn chip_id(&self) -> [u8; 64] {
        self.get(at::CHIP_ID)
    }
    /// COMMITTED_TCB.
    pub fn committed_tcb(&self) -> Tcb {
        Tcb(self.get(at::COMMITTED_TCB))
    }
    /// CURRENT build, minor, major.
    pub fn current_version(&self) -> [u8; 3] {
        self.get(at::CURRENT_VERSION)
    }
    /// COMMITTED build, minor, major.
    pub fn committed_version(&self) -> [u8; 3] {
        self.get(at::COMMITTED_VERSION)
    }
    /// LAUNCH_TCB.
    pub fn launch_tcb(&self) -> Tcb {
        Tcb(self.get(at::LAUNCH_TCB))
    }
    /// LAUNCH_MIT_VECTOR and CURRENT_MIT_VECTOR; from version 5.
    pub fn mitigations(&self) -> Option<(u64, u64)> {
        let vector = |offset| u64::from_le_bytes(self.get(offset));
        (self.version() >= 5).then(|| (vector(at::LAUNCH_MIT_VECTOR), vector(at::CURRENT_MIT_VECTOR)))
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("version", &self.version())
            .field("measurement", &hex::encode(self.measurement()))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "report_test.rs"]
mod tests;
