//! boot_params, the "zero page" of the Linux/x86 boot protocol
//! (Documentation/arch/x86/zero-page.rst, arch/x86/include/uapi/asm/bootparam.h).

use super::bzimage::{BzImage, SETUP_HEADER};
use super::memory_map::MapEntry;
use crate::plan::{MemoryRange, low};

/// Offsets in boot_params.
mod at {
    pub(super) const ACPI_RSDP: usize = 0x070;
    pub(super) const E820_ENTRIES: usize = 0x1e8;
    pub(super) const TYPE_OF_LOADER: usize = 0x210;
    pub(super) const CODE32_START: usize = 0x214;
    pub(super) const RAMDISK_IMAGE: usize = 0x218;
    pub(super) const RAMDISK_SIZE: usize = 0x21c;
    pub(super) const CMD_LINE_PTR: usize = 0x228;
    pub(super) const SETUP_DATA: usize = 0x250;
    pub(super) const E820_TABLE: usize = 0x2d0;
}

/// Bytes in an e820 entry of boot_params: address, size, type.
const E820_ENTRY: usize = 20;
/// Entries that boot_params has room for.
const E820_MAX: usize = 128;
/// type_of_loader of a boot loader without a number of its own.
const UNDEFINED_LOADER: u8 = 0xff;

/// setup_data type SETUP_CC_BLOB.
const SETUP_CC_BLOB: u32 = 7;
/// Where the blob lies behind its setup_data, in bytes.
const CC_BLOB_OFFSET: u64 = 0x20;
/// "AMDE": the magic number of cc_blob_sev_info (arch/x86/include/asm/sev.h).
const CC_BLOB_MAGIC: u32 = 0x4544_4d41;

/// Addresses that a kernel is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pointers {
    /// Command line, NUL terminated.
    pub cmdline: u64,
    /// Initrd, if there is one; below 4 GiB.
    pub initrd: Option<MemoryRange>,
    /// RSDP, or 0.
    pub rsdp: u64,
    /// First setup_data, or 0.
    pub setup_data: u64,
}

fn put(page: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = page.get_mut(at..).and_then(|p| p.get_mut(..bytes.len())) {
        place.copy_from_slice(bytes);
    }
}

/// Builds the zero page for a kernel that is loaded where it wants to be.
pub fn boot_params(kernel: &BzImage, pointers: &Pointers, map: &[MapEntry]) -> [u8; 4096] {
    let mut page = [0; 4096];
    let p = &mut page[..];
    put(p, SETUP_HEADER, &kernel.setup_header);
    put(p, at::TYPE_OF_LOADER, &[UNDEFINED_LOADER]);
    // All of these lie below 4 GiB, by the plan's own map.
    put(p, at::CODE32_START, &(kernel.pref_address as u32).to_le_bytes());
    put(p, at::CMD_LINE_PTR, &(pointers.cmdline as u32).to_le_bytes());
    let initrd = pointers.initrd.unwrap_or(MemoryRange::new(0, 0));
    put(p, at::RAMDISK_IMAGE, &(initrd.start as u32).to_le_bytes());
    put(p, at::RAMDISK_SIZE, &(initrd.size as u32).to_le_bytes());
    put(p, at::ACPI_RSDP, &pointers.rsdp.to_le_bytes());
    put(p, at::SETUP_DATA, &pointers.setup_data.to_le_bytes());

    let count = map.len().min(E820_MAX);
    put(p, at::E820_ENTRIES, &[count as u8]);
    let table = p.get_mut(at::E820_TABLE..).unwrap_or_default();
    for (entry, place) in map.iter().take(count).zip(table.chunks_exact_mut(E820_ENTRY)) {
        put(place, 0, &entry.range.start.to_le_bytes());
        put(place, 8, &entry.range.size.to_le_bytes());
        put(place, 16, &(entry.kind as u32).to_le_bytes());
    }
    page
}

/// A setup_data of type 7 at [`low::CC_BLOB`] and behind it the cc_blob_sev_info that it points to: how
/// a kernel booted without firmware learns where its secrets and CPUID pages are.
pub fn cc_blob() -> Vec<u8> {
    let blob = low::CC_BLOB.start.saturating_add(CC_BLOB_OFFSET);
    let mut bytes = Vec::new();
    // setup_data: next, type, len; then the blob's address.
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(SETUP_CC_BLOB.to_le_bytes());
    bytes.extend(4u32.to_le_bytes());
    bytes.extend((blob as u32).to_le_bytes());
    bytes.resize(CC_BLOB_OFFSET as usize, 0);
    // cc_blob_sev_info: magic, version and a reserved half; then address, length and 4 reserved bytes of
    // each page.
    bytes.extend(CC_BLOB_MAGIC.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    for page in [low::SECRETS, low::CPUID] {
        bytes.extend(page.start.to_le_bytes());
        bytes.extend(page.size.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cc_blob_has_the_kernels_layout() {
        let b = cc_blob();
        assert_eq!(b[8..20], [7, 0, 0, 0, 4, 0, 0, 0, 0x20, 0x70, 0, 0]);
        assert_eq!(b.len(), 0x20 + 40);
        assert_eq!(&b[0x20..0x28], b"AMDE\x01\0\0\0");
        assert_eq!(b[0x28..0x38], [0, 0xd0, 9, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0]);
        assert_eq!(b[0x38..0x48], [0, 0xe0, 9, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0]);
    }
}
