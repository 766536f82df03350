//! bzImage: the setup header of the Linux/x86 boot protocol
//! (Documentation/arch/x86/boot.rst in the kernel's sources).

use snafu::{ResultExt, ensure};

use super::error::*;
use crate::bytes::bytes_at;
use crate::plan::ImageFile;

/// Offset of the setup header in the file and in boot_params.
pub const SETUP_HEADER: usize = 0x1f1;
/// First offset in boot_params that no setup header may reach (`edd_mbr_sig_buffer`).
pub const SETUP_HEADER_LIMIT: usize = 0x290;
/// Distance of the 64-bit entry point from the load address.
pub const ENTRY_64: u64 = 0x200;

/// Bytes in a sector: what `setup_sects` counts.
const SECTOR: u64 = 512;
/// Bytes in a paragraph: what `syssize` counts.
const PARAGRAPH: u64 = 16;
/// First version with xloadflags.
const PROTOCOL_2_12: u16 = 0x20c;
/// loadflags bit 0: loaded at or above 1 MiB.
const LOADED_HIGH: u8 = 1;
/// xloadflags bit 0: there is a 64-bit entry point at 0x200.
const XLF_KERNEL_64: u16 = 1;
/// The end of init_size, the last field that we need.
const LAST_FIELD_END: usize = 0x264;
/// The lowest address a bzImage can be loaded at.
const ONE_MIB: u64 = 1 << 20;

/// A bzImage that can be entered in 64-bit mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BzImage {
    /// The setup header as in the file, from [`SETUP_HEADER`] on; at most up to [`SETUP_HEADER_LIMIT`].
    pub setup_header: Vec<u8>,
    /// Offset of the protected-mode code in the file.
    pub code_offset: u64,
    /// Length of the protected-mode code in bytes.
    pub code_len: u64,
    /// Where the kernel wants to be loaded: page aligned, at or above 1 MiB.
    pub pref_address: u64,
    /// Memory that it needs from its load address on, to unpack itself; at least `code_len`.
    pub init_size: u32,
    /// Longest command line in bytes, without the NUL.
    pub cmdline_size: u32,
    /// Highest address of the last byte of an initrd.
    pub initrd_addr_max: u32,
}

/// Whether a file that begins with `start` is a bzImage.
pub(super) fn is_bzimage(start: &[u8]) -> bool {
    bytes_at(start, 0x1fe) == Some([0x55, 0xaa]) && bytes_at(start, 0x202) == Some(*b"HdrS")
}

impl BzImage {
    /// Parses the header of `image`, of which the first bytes are `start`.
    pub(super) fn parse(image: &ImageFile, start: &[u8; SETUP_HEADER_LIMIT]) -> Result<Self, KernelError> {
        let u8_at = |at| bytes_at(start, at).map_or(0, u8::from_le_bytes);
        let u16_at = |at| bytes_at(start, at).map_or(0, u16::from_le_bytes);
        let u32_at = |at| bytes_at(start, at).map_or(0, u32::from_le_bytes);
        let u64_at = |at| bytes_at(start, at).map_or(0, u64::from_le_bytes);

        let version = u16_at(0x206);
        ensure!(version >= PROTOCOL_2_12, ProtocolSnafu { version });
        ensure!(u16_at(0x236) & XLF_KERNEL_64 != 0, Not64BitSnafu);
        ensure!(u8_at(0x211) & LOADED_HIGH != 0, LoadedLowSnafu);

        // The jump at 0x200 leads to the end of the header: its second byte counts from 0x202.
        let end = 0x202usize.saturating_add(usize::from(u8_at(0x201)));
        let header = start.get(SETUP_HEADER..end).filter(|_| end >= LAST_FIELD_END);
        let Some(header) = header else { return HeaderLengthSnafu { end: end as u64 }.fail() };

        // 0 stands for 4, for the sake of kernels from before 1995.
        let sectors = match u8_at(0x1f1) {
            0 => 4,
            n => u64::from(n),
        };
        let code_offset = sectors.saturating_add(1).saturating_mul(SECTOR);
        let promised = u64::from(u32_at(0x1f4)).saturating_mul(PARAGRAPH);
        // The last paragraph may be cut short.
        let code_len = promised.min(image.len().saturating_sub(code_offset));
        let complete = code_len > ENTRY_64 && promised.saturating_sub(code_len) < PARAGRAPH;
        let need = code_offset.saturating_add(promised.max(ENTRY_64));
        ensure!(complete, TruncatedSnafu { need, have: image.len() });

        let (address, alignment, init_size) = (u64_at(0x258), u32_at(0x230), u32_at(0x260));
        let placed = address >= ONE_MIB
            && address.is_multiple_of(4096)
            && alignment.is_power_of_two()
            && address.checked_add(u64::from(init_size)).is_some()
            && u64::from(init_size) >= code_len;
        ensure!(placed, PlacementSnafu { address, alignment, init_size, code: code_len });

        Ok(BzImage {
            setup_header: header.to_vec(),
            code_offset,
            code_len,
            pref_address: address,
            init_size,
            cmdline_size: u32_at(0x238),
            initrd_addr_max: u32_at(0x22c),
        })
    }

    /// The end of the memory that the kernel needs when it is loaded where it wants to be.
    pub fn end(&self) -> u64 {
        self.pref_address.saturating_add(u64::from(self.init_size))
    }
}

/// The bytes that every bzImage's header is parsed from.
pub(super) fn read_start(image: &ImageFile) -> Result<[u8; SETUP_HEADER_LIMIT], KernelError> {
    let mut start = [0; SETUP_HEADER_LIMIT];
    image.read_at(0, &mut start).context(FileSnafu)?;
    Ok(start)
}
