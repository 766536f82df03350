//! Where the fields of an attestation report are (AMD 56860, ATTESTATION_REPORT; 1184 bytes,
//! little-endian). `no_std`: the guest reads HOST_DATA of its own report by this.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

/// Length of a report.
pub const REPORT_LEN: usize = 0x4a0;
/// The signature is over the bytes before this.
pub const SIGNED_LEN: usize = 0x2a0;

/// VERSION, u32.
pub const VERSION: usize = 0x000;
/// GUEST_SVN, u32.
pub const GUEST_SVN: usize = 0x004;
/// POLICY, u64.
pub const POLICY: usize = 0x008;
/// FAMILY_ID, 16 bytes.
pub const FAMILY_ID: usize = 0x010;
/// IMAGE_ID, 16 bytes.
pub const IMAGE_ID: usize = 0x020;
/// VMPL, u32.
pub const VMPL: usize = 0x030;
/// SIGNATURE_ALGO, u32.
pub const SIGNATURE_ALGO: usize = 0x034;
/// CURRENT_TCB, 8 bytes.
pub const CURRENT_TCB: usize = 0x038;
/// PLATFORM_INFO, u64.
pub const PLATFORM_INFO: usize = 0x040;
/// KEY_INFO (AUTHOR_KEY_EN, MASK_CHIP_KEY, SIGNING_KEY), u32.
pub const KEY_INFO: usize = 0x048;
/// Reserved, zero, 4 bytes.
pub const RESERVED_4C: usize = 0x04c;
/// REPORT_DATA, 64 bytes: what the guest put in.
pub const REPORT_DATA: usize = 0x050;
/// MEASUREMENT, 48 bytes: the launch digest.
pub const MEASUREMENT: usize = 0x090;
/// HOST_DATA, 32 bytes: what the host put in at launch.
pub const HOST_DATA: usize = 0x0c0;
/// ID_KEY_DIGEST, 48 bytes.
pub const ID_KEY_DIGEST: usize = 0x0e0;
/// AUTHOR_KEY_DIGEST, 48 bytes.
pub const AUTHOR_KEY_DIGEST: usize = 0x110;
/// REPORT_ID, 32 bytes.
pub const REPORT_ID: usize = 0x140;
/// REPORT_ID_MA, 32 bytes.
pub const REPORT_ID_MA: usize = 0x160;
/// REPORTED_TCB, 8 bytes: selects the VCEK or VLEK.
pub const REPORTED_TCB: usize = 0x180;
/// CPUID family, model, stepping, 3 bytes; from version 3.
pub const CPUID: usize = 0x188;
/// CHIP_ID, 64 bytes.
pub const CHIP_ID: usize = 0x1a0;
/// COMMITTED_TCB, 8 bytes.
pub const COMMITTED_TCB: usize = 0x1e0;
/// CURRENT build, minor, major, 3 bytes.
pub const CURRENT_VERSION: usize = 0x1e8;
/// COMMITTED build, minor, major, 3 bytes.
pub const COMMITTED_VERSION: usize = 0x1ec;
/// LAUNCH_TCB, 8 bytes.
pub const LAUNCH_TCB: usize = 0x1f0;
/// LAUNCH_MIT_VECTOR, u64; from version 5.
pub const LAUNCH_MIT_VECTOR: usize = 0x1f8;
/// CURRENT_MIT_VECTOR, u64; from version 5.
pub const CURRENT_MIT_VECTOR: usize = 0x200;
/// The signature's r, 72 bytes, little-endian, zero above byte 47.
pub const SIGNATURE_R: usize = 0x2a0;
/// The signature's s, likewise.
pub const SIGNATURE_S: usize = 0x2e8;
/// Reserved and not signed, zero, up to the end.
pub const RESERVED_TAIL: usize = 0x330;

/// Copies `N` bytes at `offset`, if they are there.
pub fn field<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}
