//! SNP attestation reports of the simulator's making (attestation.md 1.1).

use p384::ecdsa::signature::Signer;
use p384::ecdsa::{Signature, SigningKey};

use super::certs;
use super::psp::Owner;

/// Size of a report in bytes.
pub const REPORT_SIZE: usize = 1184;

/// The part of a report that is signed.
const SIGNED: usize = 0x2a0;

/// Version and layout of reports. `Default` is what the simulator's certificates and every verifier that
/// allows simulated evidence are made for: version 3, no product, the TCB laid out as Milan and Genoa do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportForm {
    /// VERSION.
    pub version: ReportVersion,
    /// How TCB versions are laid out, and which processor is named.
    pub layout: ReportLayout,
}

/// VERSION of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReportVersion {
    /// 2: says nothing of the processor.
    V2,
    /// 3: names family, model and stepping.
    #[default]
    V3,
    /// 5: has mitigation vectors.
    V5,
}

/// The product whose layout a report has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReportLayout {
    /// Milan's layout; the processor is none: family, model and stepping are 0.
    #[default]
    Simulated,
    /// EPYC 7003.
    Milan,
    /// EPYC 9004.
    Genoa,
    /// EPYC 9005: another order in the TCB, and eight bytes of CHIP_ID.
    Turin,
}

impl ReportLayout {
    /// CPUID family, model and stepping.
    fn cpuid(self) -> [u8; 3] {
        match self {
            Self::Simulated => [0, 0, 0],
            Self::Milan => [0x19, 0x01, 1],
            Self::Genoa => [0x19, 0x11, 1],
            Self::Turin => [0x1a, 0x02, 1],
        }
    }

    /// TCB of the simulated platform: boot loader 3, TEE 1, SNP 20, microcode 200; on Turin FMC 2 too.
    /// The VCEK certificates name the same numbers.
    fn tcb(self) -> [u8; 8] {
        match self {
            Self::Turin => [2, 3, 1, 20, 0, 0, 0, 200],
            _ => [3, 1, 0, 0, 0, 0, 20, 200],
        }
    }

    fn chip_id(self) -> [u8; 64] {
        let mut id = certs::CHIP_ID;
        if self == Self::Turin {
            id[8..].fill(0);
        }
        id
    }
}

/// What goes into a report.
pub(super) struct Facts<'a> {
    pub(super) form: ReportForm,
    /// API version of the firmware, major and minor.
    pub(super) abi: (u8, u8),
    pub(super) platform_info: u64,
    pub(super) policy: u64,
    pub(super) owner: &'a Owner,
    pub(super) report_data: &'a [u8; 64],
    pub(super) measurement: &'a [u8; 48],
    pub(super) host_data: &'a [u8; 32],
    pub(super) report_id: &'a [u8; 32],
}

/// Builds and signs a report.
pub(super) fn report(facts: &Facts<'_>, key: &SigningKey) -> [u8; REPORT_SIZE] {
    let mut r = [0u8; REPORT_SIZE];
    let (version, layout) = (facts.form.version, facts.form.layout);
    let (major, minor) = facts.abi;
    let tcb = layout.tcb();
    let number: u32 = match version {
        ReportVersion::V2 => 2,
        ReportVersion::V3 => 3,
        ReportVersion::V5 => 5,
    };
    let author = facts.owner.author_key_digest;
    let fields: [(usize, &[u8]); 22] = [
        (0x000, &number.to_le_bytes()), // VERSION
        (0x004, &facts.owner.guest_svn.to_le_bytes()),
        (0x008, &facts.policy.to_le_bytes()),
        (0x010, &facts.owner.family_id),
        (0x020, &facts.owner.image_id),
        (0x034, &1u32.to_le_bytes()), // SIGNATURE_ALGO: ECDSA P-384 with SHA-384
        (0x038, &tcb),                // CURRENT_TCB
        (0x040, &facts.platform_info.to_le_bytes()),
        (0x048, &u32::from(author.is_some()).to_le_bytes()), // KEY_INFO: AUTHOR_KEY_EN; signed by the VCEK
        (0x050, facts.report_data),
        (0x090, facts.measurement),
        (0x0c0, facts.host_data),
        (0x0e0, &facts.owner.id_key_digest.0),
        (0x110, &author.unwrap_or_default().0),
        (0x140, facts.report_id),
        (0x160, &[0xff; 32]), // REPORT_ID_MA: no migration agent
        (0x180, &tcb),        // REPORTED_TCB
        (0x1a0, &layout.chip_id()),
        (0x1e0, &tcb),               // COMMITTED_TCB
        (0x1e8, &[0, minor, major]), // CURRENT build, minor, major
        (0x1ec, &[0, minor, major]), // COMMITTED build, minor, major
        (0x1f0, &tcb),               // LAUNCH_TCB
    ];
    for (offset, bytes) in fields {
        put(&mut r, offset, bytes);
    }
    if version != ReportVersion::V2 {
        put(&mut r, 0x188, &layout.cpuid());
    }
    if version == ReportVersion::V5 {
        // LAUNCH_MIT_VECTOR and CURRENT_MIT_VECTOR: the two mitigations that are defined.
        put(&mut r, 0x1f8, &3u64.to_le_bytes());
        put(&mut r, 0x200, &3u64.to_le_bytes());
    }
    let signature: Signature = key.sign(&r[..SIGNED]);
    let (sr, ss) = signature.split_bytes();
    for (offset, scalar) in [(SIGNED, sr), (SIGNED + 72, ss)] {
        for (to, from) in r[offset..offset + 48].iter_mut().zip(scalar.iter().rev()) {
            *to = *from;
        }
    }
    r
}

fn put(report: &mut [u8; REPORT_SIZE], offset: usize, bytes: &[u8]) {
    report[offset..offset + bytes.len()].copy_from_slice(bytes);
}
