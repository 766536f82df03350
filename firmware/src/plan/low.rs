//! Fixed places below 1 MiB, the same for every plan that boots without firmware.
//!
//! | guest-physical | bytes | kind | Linux | payload |
//! |---|---|---|---|---|
//! | `0x00000` | 4 KiB | | left free (no null pointer is ever ours) | same |
//! | `0x01000` | 4 KiB | measured | GDT | GDT, TSS at `+0x100` |
//! | `0x02000` | 4 KiB | measured | boot_params or hvm_start_info | boot info, its GPA in RDI |
//! | `0x03000` | 16 KiB | measured | command line | |
//! | `0x07000` | 4 KiB | measured | setup_data with the cc_blob, if announced | |
//! | `0x09000` | 24 KiB | measured | page tables: PML4, PDPT, 4 × PD | same, user accessible |
//! | `0x10000` | 64 KiB | zero | first stack (top `0x20000`) | same |
//! | `0x20000` | 16 KiB | zero | | stack for interrupts from CPL 3: TSS.RSP0 = `0x24000` |
//! | `0x30000` | 256 KiB | | | free for the caller's own runs (init data) |
//! | `0x9d000` | 4 KiB | secrets | with SNP pages; reserved in e820 | with SNP pages |
//! | `0x9e000` | 4 KiB | CPUID | with SNP pages; reserved in e820 | with SNP pages |
//! | `0xe0000` | 128 KiB | measured | ACPI tables, RSDP first | |
//! | `0x100000`.. | | measured | kernel, initrd | ELF segments |

use super::MemoryRange;

/// Global descriptor table; for a payload also its TSS.
pub const GDT: MemoryRange = MemoryRange::new(0x1000, 0x1000);
/// The TSS of a payload, inside the page of the GDT.
pub const TSS: MemoryRange = MemoryRange::new(0x1100, 0x68);
/// The block of parameters whose address the guest gets in a register.
pub const PARAMS: MemoryRange = MemoryRange::new(0x2000, 0x1000);
/// Command line, NUL terminated.
pub const CMDLINE: MemoryRange = MemoryRange::new(0x3000, 0x4000);
/// setup_data and cc_blob that tell a Linux kernel where the SNP pages are.
pub const CC_BLOB: MemoryRange = MemoryRange::new(0x7000, 0x1000);
/// Page tables.
pub const PAGE_TABLES: MemoryRange = MemoryRange::new(0x9000, 0x6000);
/// First stack.
pub const STACK: MemoryRange = MemoryRange::new(0x1_0000, 0x1_0000);
/// Stack that a payload's interrupts from CPL 3 are taken on.
pub const INTERRUPT_STACK: MemoryRange = MemoryRange::new(0x2_0000, 0x4000);
/// Kept free for what the planner's caller adds to a payload, such as init data.
pub const FREE: MemoryRange = MemoryRange::new(0x3_0000, 0x4_0000);
/// SNP secrets page.
pub const SECRETS: MemoryRange = MemoryRange::new(0x9_d000, 0x1000);
/// SNP CPUID page.
pub const CPUID: MemoryRange = MemoryRange::new(0x9_e000, 0x1000);
/// End of conventional memory that e820 calls usable (the extended BIOS data area follows).
pub const CONVENTIONAL_END: u64 = 0x9_fc00;
/// First address above the areas that PCs reserve; kernels and payloads lie from here on.
pub const ONE_MIB: u64 = 0x10_0000;
