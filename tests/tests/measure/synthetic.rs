//! Images that tests make themselves.

use cloister_firmware::ovmf::{Firmware, Guid, known};

/// An image whose table has these entries, the first nearest to the footer.
pub(super) fn with_table(mut image: Vec<u8>, entries: &[(Guid, Vec<u8>)]) -> Vec<u8> {
    let mut table = Vec::new();
    for (guid, data) in entries.iter().rev() {
        table.extend(data);
        table.extend((data.len() as u16 + 18).to_le_bytes());
        table.extend(guid.0);
    }
    table.extend((table.len() as u16 + 18).to_le_bytes());
    table.extend(known::TABLE_FOOTER.0);
    let end = image.len() - 0x20;
    image[end - table.len()..end].copy_from_slice(&table);
    image
}

/// SEV metadata with these sections: address, size, type.
pub(super) fn asev(sections: &[[u32; 3]]) -> Vec<u8> {
    let mut block = b"ASEV".to_vec();
    block.extend((16 + 12 * sections.len() as u32).to_le_bytes());
    block.extend(1u32.to_le_bytes());
    block.extend((sections.len() as u32).to_le_bytes());
    block.extend(sections.iter().flatten().flat_map(|n| n.to_le_bytes()));
    block
}

/// The example image of google/gce-tcb-verifier (`testing/fakeovmf`, `CleanExample`), 2 MiB.
pub(super) fn gce_example() -> Vec<u8> {
    let mut image = vec![0; 2 << 20];
    for at in [0x800, 0xa00] {
        image[at..at + 16].copy_from_slice(b"LGTMLGTMLGTMLGTM");
    }
    let sev = asev(&[[0xff00_1000, 0x1000, 1], [0xff00_3000, 0x1000, 3], [0xff00_4000, 0x1000, 2]]);
    image[..sev.len()].copy_from_slice(&sev);
    let mut tdx = Guid::new(0xe9eaf9f3_168e_44d5_a8eb_7f4d8738f6ae).0.to_vec();
    tdx.extend(b"TDVF");
    tdx.extend([208u32, 1, 6].iter().flat_map(|n| n.to_le_bytes()));
    let sections: [(u32, u32, u64, u64, u32, u32); 6] = [
        (0x2_0000, 0x1e_0000, 0xffe2_0000, 0x1e_0000, 0, 1),
        (0, 0x2_0000, 0xffe0_0000, 0x2_0000, 1, 0),
        (0, 0, 0x81_0000, 0x1_0000, 3, 0),
        (0, 0, 0x80_b000, 0x2000, 3, 0),
        (0, 0, 0x80_9000, 0x2000, 2, 0),
        (0, 0, 0x80_0000, 0x6000, 3, 0),
    ];
    for (offset, raw, gpa, size, kind, attributes) in sections {
        tdx.extend([offset, raw].iter().flat_map(|n| n.to_le_bytes()));
        tdx.extend([gpa, size].iter().flat_map(|n| n.to_le_bytes()));
        tdx.extend([kind, attributes].iter().flat_map(|n| n.to_le_bytes()));
    }
    image[0x100..0x100 + tdx.len()].copy_from_slice(&tdx);
    let len = image.len() as u32;
    with_table(
        image,
        &[
            (known::RESET_BLOCK, 0xff00_00ffu32.to_le_bytes().to_vec()),
            (known::SEV_METADATA, len.to_le_bytes().to_vec()),
            (known::TDX_METADATA, (len - 0x110).to_le_bytes().to_vec()),
        ],
    )
}

/// An image with the table and the sections of coconut-svsm's binary, and nothing else in it.
pub(super) fn svsm_image(size: usize, entry: u32) -> Firmware {
    let mut image = vec![0; size];
    let sev = asev(&[[0, 0x9_e000, 1], [0x9_e000, 0x1000, 2], [0x9_f000, 0x1000, 3]]);
    image[..sev.len()].copy_from_slice(&sev);
    let entries = [
        (known::SVSM_INFO, entry.to_le_bytes().to_vec()),
        (known::SEV_METADATA, (size as u32).to_le_bytes().to_vec()),
    ];
    Firmware::parse(with_table(image, &entries)).unwrap()
}
