//! The packed part of a firmware image: one LZMA section with the volumes of its drivers (PI specification
//! 1.8, volume 3, 2.2.4 and 3.2.5; edk2's `OvmfPkg/IntelTdx/IntelTdxX64.fdf`).

use std::io::Read;

use lzma_rust2::LzmaReader;

use crate::bytes::{bytes_at, u16_at, u64_at};
use crate::ovmf::Guid;

/// What marks a section as packed with LZMA.
const LZMA: Guid = Guid::new(0xee4e5898_3914_4259_9d6e_dc7bd79403cf);
/// Type of a section that a GUID tells how to read.
const GUIDED: u8 = 2;
/// Bytes of a section's header before its GUID: size in 24 bits, type.
const HEADER: usize = 4;
/// Where a packed section says at which offset its data begins.
const DATA_OFFSET: usize = 20;
/// Where LZMA's own header says how much is packed, and how long that header is.
const UNPACKED: usize = 5;
const LZMA_HEADER: usize = 13;
/// The most that is unpacked, in bytes: OVMF has 16 MiB.
const MAX: u64 = 64 << 20;

/// Unpacks the first section of `image` that can be; `None` if there is none.
pub(super) fn unpack(image: &[u8]) -> Option<Vec<u8>> {
    let guids = image.windows(LZMA.0.len()).enumerate().filter(|(_, bytes)| *bytes == LZMA.0);
    guids.filter_map(|(at, _)| section(image.get(at.checked_sub(HEADER)?..)?)).find_map(lzma)
}

/// The packed data of the section that `bytes` begins with.
fn section(bytes: &[u8]) -> Option<&[u8]> {
    let [a, b, c, kind] = bytes_at(bytes, 0)?;
    let size = u32::from_le_bytes([a, b, c, 0]) as usize;
    let data = usize::from(u16_at(bytes, DATA_OFFSET)?);
    if kind == GUIDED { bytes.get(data..size) } else { None }
}

fn lzma(packed: &[u8]) -> Option<Vec<u8>> {
    let size = u64_at(packed, UNPACKED).filter(|size| *size <= MAX)?;
    let memory = u32::try_from(MAX >> 10).ok()?;
    let mut reader = LzmaReader::new_mem_limit(packed, memory, None).ok()?.take(size);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).ok()?;
    (packed.len() > LZMA_HEADER && bytes.len() as u64 == size).then_some(bytes)
}
