//! Tiny firmware images for tests, with every structure and nothing else.

use crate::ovmf::{Firmware, FirmwareError, Guid, known};

/// Builds images: entries from the footer backwards, blocks of metadata from offset 0 on.
#[derive(Clone)]
pub(crate) struct FirmwareBuilder {
    bytes: Vec<u8>,
    blocks_end: usize,
    entries: Vec<(Guid, Vec<u8>)>,
}

impl FirmwareBuilder {
    pub(crate) fn new(pages: usize) -> Self {
        FirmwareBuilder { bytes: vec![0; pages * 4096], blocks_end: 0, entries: Vec::new() }
    }

    pub(crate) fn entry(mut self, guid: Guid, data: &[u8]) -> Self {
        self.entries.push((guid, data.to_vec()));
        self
    }

    pub(crate) fn numbers(self, guid: Guid, data: &[u32]) -> Self {
        let data: Vec<u8> = data.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.entry(guid, &data)
    }

    /// A block of metadata with `lead` bytes before it that its entry does not count.
    pub(crate) fn block(mut self, guid: Guid, lead: &[u8], block: &[u8]) -> Self {
        let at = self.blocks_end;
        self.bytes[at..at + lead.len()].copy_from_slice(lead);
        let at = at + lead.len();
        self.bytes[at..at + block.len()].copy_from_slice(block);
        self.blocks_end = at + block.len();
        let distance = (self.bytes.len() - at) as u32;
        self.numbers(guid, &[distance])
    }

    /// SEV metadata: address, size, type of each section.
    pub(crate) fn sev(self, sections: &[[u32; 3]]) -> Self {
        self.block(known::SEV_METADATA, &[], &sev_block(sections))
    }

    /// TDVF metadata.
    pub(crate) fn tdvf(self, sections: &[TestSection]) -> Self {
        self.block(known::TDX_METADATA, &TDVF_GUID, &tdvf_block(sections))
    }

    pub(crate) fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let mut table: Vec<u8> = Vec::new();
        for (guid, data) in self.entries.iter().rev() {
            table.extend(data);
            table.extend((data.len() as u16 + 18).to_le_bytes());
            table.extend(guid.0);
        }
        table.extend((table.len() as u16 + 18).to_le_bytes());
        table.extend(known::TABLE_FOOTER.0);
        let end = bytes.len() - 0x20;
        bytes[end - table.len()..end].copy_from_slice(&table);
        bytes
    }

    pub(crate) fn parse(&self) -> Result<Firmware, FirmwareError> {
        Firmware::parse(self.bytes())
    }

    pub(crate) fn build(&self) -> Firmware {
        self.parse().unwrap()
    }
}

pub(crate) const TDVF_GUID: [u8; 16] = Guid::new(0xe9eaf9f3_168e_44d5_a8eb_7f4d8738f6ae).0;

/// A block with header: signature, entries as they are.
pub(crate) fn block(signature: &[u8; 4], count: u32, entries: &[u8]) -> Vec<u8> {
    let mut block = signature.to_vec();
    block.extend((16 + entries.len() as u32).to_le_bytes());
    block.extend(1u32.to_le_bytes());
    block.extend(count.to_le_bytes());
    block.extend(entries);
    block
}

pub(crate) fn sev_block(sections: &[[u32; 3]]) -> Vec<u8> {
    let entries: Vec<u8> = sections.iter().flatten().flat_map(|n| n.to_le_bytes()).collect();
    block(b"ASEV", sections.len() as u32, &entries)
}

/// Offset and length in the file, address, size, type, attributes.
pub(crate) type TestSection = (u32, u32, u64, u64, u32, u32);

pub(crate) fn tdvf_block(sections: &[TestSection]) -> Vec<u8> {
    let mut entries = Vec::new();
    for &(offset, len, gpa, size, kind, attributes) in sections {
        entries.extend([offset, len].iter().flat_map(|n| n.to_le_bytes()));
        entries.extend([gpa, size].iter().flat_map(|n| n.to_le_bytes()));
        entries.extend([kind, attributes].iter().flat_map(|n| n.to_le_bytes()));
    }
    block(b"TDVF", sections.len() as u32, &entries)
}

/// An image like OVMF's AmdSev build, of two pages.
pub(crate) fn amdsev() -> FirmwareBuilder {
    FirmwareBuilder::new(2)
        .numbers(known::RESET_BLOCK, &[0x80_b004])
        .numbers(known::SECRET_BLOCK, &[0x81_0000, 0xc00])
        .numbers(known::HASH_BLOCK, &[0x81_0c00, 0x400])
        .sev(&[
            [0x80_0000, 0x9000, 1],
            [0x80_d000, 0x1000, 2],
            [0x80_e000, 0x1000, 3],
            [0x80_f000, 0x1000, 4],
            [0x81_1000, 0x1000, 1],
            [0x81_0000, 0x1000, 0x10],
        ])
}

/// Sections like those of OVMF's IntelTdx build, for an image of two pages.
pub(crate) const INTEL_TDX: [TestSection; 4] = [
    (0x1000, 0x1000, 0xffff_f000, 0x1000, 0, 1),
    (0, 0x1000, 0xffff_e000, 0x1000, 1, 0),
    (0, 0, 0x80_9000, 0x2000, 2, 0),
    (0, 0, 0x80_0000, 0x6000, 3, 0),
];
