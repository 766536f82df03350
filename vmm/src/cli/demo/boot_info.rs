//! The page that tells the demo's guest where it is (tests/payloads/demo/src/boot_info.rs reads it).

use cloister_coco::launch::PlatformKind;

/// First address of the region that the guest shares and bounces its I/O through.
pub(super) const BOUNCE_GPA: u64 = 16 << 20;
/// Pages in it.
pub(super) const BOUNCE_PAGES: u64 = 128;
/// The broker's vsock port.
const PORT: u32 = 4226;

const PLATFORM_SIMULATED: u32 = 1;
const PLATFORM_PROTECTED: u32 = 2;
const CONVERT_MAILBOX: u32 = 1;
const CONVERT_VMCALL: u32 = 2;
const CONVERT_VMMCALL: u32 = 3;

/// The page for a guest on `kind`.
pub(super) fn boot_info(kind: PlatformKind) -> Vec<u8> {
    let (platform, convert) = match kind {
        PlatformKind::Protected => (PLATFORM_PROTECTED, hypercall()),
        _ => (PLATFORM_SIMULATED, CONVERT_MAILBOX),
    };
    let mut page = vec![0; 4096];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x00, b"CLSTBOOT");
    put(0x08, &1u32.to_le_bytes());
    put(0x0c, &platform.to_le_bytes());
    put(0x10, &convert.to_le_bytes());
    put(0x18, &BOUNCE_GPA.to_le_bytes());
    put(0x20, &(BOUNCE_PAGES as u32).to_le_bytes());
    put(0x24, &PORT.to_le_bytes());
    page
}

/// The instruction that this host's processor takes for a hypercall.
fn hypercall() -> u32 {
    let vendor = core::arch::x86_64::__cpuid(0);
    // "AuthenticAMD": EBX holds "Auth".
    if vendor.ebx == u32::from_le_bytes(*b"Auth") { CONVERT_VMMCALL } else { CONVERT_VMCALL }
}
