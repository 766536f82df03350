//! hvm_start_info: what a kernel entered through PVH is handed
//! (xen/include/public/arch-x86/hvm/start_info.h).

use super::boot_params::Pointers;
use super::memory_map::MapEntry;

/// XEN_HVM_START_MAGIC_VALUE.
const MAGIC: u32 = 0x336e_c578;
/// Version 1: with a memory map.
const VERSION: u32 = 1;
/// Where the module list lies behind the structure (56 bytes).
const MODULES: u64 = 0x40;
/// Where the memory map lies behind the structure: after one module of 32 bytes.
const MEMORY_MAP: u64 = 0x60;

/// Builds hvm_start_info for address `at`, with its module list and memory map behind it.
pub fn start_info(at: u64, pointers: &Pointers, map: &[MapEntry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    // magic, version, flags, nr_modules
    let modules = u32::from(pointers.initrd.is_some());
    for field in [MAGIC, VERSION, 0, modules] {
        bytes.extend(field.to_le_bytes());
    }
    let modlist = if modules == 0 { 0 } else { at.saturating_add(MODULES) };
    for field in [modlist, pointers.cmdline, pointers.rsdp, at.saturating_add(MEMORY_MAP)] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend((map.len() as u64).to_le_bytes());
    bytes.resize(MODULES as usize, 0);
    if let Some(initrd) = pointers.initrd {
        // paddr, size, cmdline_paddr, reserved
        for field in [initrd.start, initrd.size, 0, 0] {
            bytes.extend(field.to_le_bytes());
        }
    }
    bytes.resize(MEMORY_MAP as usize, 0);
    for entry in map {
        // addr, size, type, reserved
        bytes.extend(entry.range.start.to_le_bytes());
        bytes.extend(entry.range.size.to_le_bytes());
        bytes.extend(u64::from(entry.kind as u32).to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::memory_map;
    use crate::plan::{GuestLayout, MemoryRange};

    #[test]
    fn everything_lies_where_the_header_points() {
        let map = memory_map(&GuestLayout::new(1 << 30), true);
        let initrd = Some(MemoryRange::new(0x300_0000, 1234));
        let pointers = Pointers { cmdline: 0x3000, initrd, rsdp: 0xe_0000, setup_data: 0 };
        let info = start_info(0x2000, &pointers, &map);
        let u64_at = |at: usize| u64::from_le_bytes(info[at..at + 8].try_into().unwrap());
        assert_eq!(info[..4], [0x78, 0xc5, 0x6e, 0x33]);
        assert_eq!(u64_at(12) as u32, 1);
        assert_eq!((u64_at(24), u64_at(32)), (0x3000, 0xe_0000));
        let modules = (u64_at(16) - 0x2000) as usize;
        assert_eq!((u64_at(modules), u64_at(modules + 8)), (0x300_0000, 1234));
        let memmap = (u64_at(40) - 0x2000) as usize;
        assert_eq!(u64_at(48) as usize, map.len());
        assert_eq!(info.len(), memmap + map.len() * 24);
        assert_eq!((u64_at(memmap), u64_at(memmap + 8), u64_at(memmap + 16)), (0, 0x9_d000, 1));
        assert!(info.len() <= 4096);
    }
}
