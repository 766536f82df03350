//! SNP attestation reports of the simulator's making (version 3; attestation.md 1.1).

use p384::ecdsa::signature::Signer;
use p384::ecdsa::{Signature, SigningKey};

/// Size of a report in bytes.
pub const REPORT_SIZE: usize = 1184;

/// The part of a report that is signed.
const SIGNED: usize = 0x2a0;

/// TCB of the simulated platform, in the byte layout of Milan and Genoa: boot loader, TEE, four
/// reserved, SNP, microcode. The VCEK certificate names the same numbers.
pub(super) const TCB: [u8; 8] = [3, 1, 0, 0, 0, 0, 20, 200];

/// What goes into a report.
pub(super) struct Facts<'a> {
    pub(super) policy: u64,
    pub(super) report_data: &'a [u8; 64],
    pub(super) measurement: &'a [u8; 48],
    pub(super) host_data: &'a [u8; 32],
    pub(super) report_id: &'a [u8; 32],
    pub(super) chip_id: &'a [u8; 64],
}

/// Builds and signs a report.
pub(super) fn report(facts: &Facts<'_>, key: &SigningKey) -> [u8; REPORT_SIZE] {
    let mut r = [0u8; REPORT_SIZE];
    let fields: [(usize, &[u8]); 18] = [
        (0x000, &3u32.to_le_bytes()), // VERSION
        (0x008, &facts.policy.to_le_bytes()),
        (0x034, &1u32.to_le_bytes()), // SIGNATURE_ALGO: ECDSA P-384 with SHA-384
        (0x038, &TCB),                // CURRENT_TCB
        (0x040, &0x20u64.to_le_bytes()), // PLATFORM_INFO: ALIAS_CHECK_COMPLETE
        (0x050, facts.report_data),
        (0x090, facts.measurement),
        (0x0c0, facts.host_data),
        (0x140, facts.report_id),
        (0x160, &[0xff; 32]), // REPORT_ID_MA: no migration agent
        (0x180, &TCB),        // REPORTED_TCB
        (0x188, &[0, 0, 0]),  // CPUID family, model, stepping: no real product
        (0x1a0, facts.chip_id),
        (0x1e0, &TCB),        // COMMITTED_TCB
        (0x1e8, &[0, 55, 1]), // CURRENT build, minor, major
        (0x1ec, &[0, 55, 1]), // COMMITTED build, minor, major
        (0x1f0, &TCB),        // LAUNCH_TCB
        (0x010, &[0; 32]),    // FAMILY_ID, IMAGE_ID: no ID block
    ];
    for (offset, bytes) in fields {
        r[offset..offset + bytes.len()].copy_from_slice(bytes);
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
