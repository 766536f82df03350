//! Images that the command's tests plan guests with, those beside the code and those beside this file.

/// Puts the header of a bzImage into `image`: one setup sector, all the rest is code, boot protocol 2.15
/// (Documentation/arch/x86/boot.rst).
pub(crate) fn boot_header(image: &mut [u8]) {
    let code = image.len() as u32 - 0x400;
    for (at, bytes) in [
        (0x1f1, &[1][..]),
        (0x1f4, &(code / 16).to_le_bytes()),
        (0x1fe, &[0x55, 0xaa]),
        (0x200, &[0xeb, 0x6a]),
        (0x202, b"HdrS"),
        (0x206, &[0x0f, 0x02]),
        (0x211, &[1]),
        (0x22c, &0x7fff_ffffu32.to_le_bytes()),
        (0x230, &0x20_0000u32.to_le_bytes()),
        (0x234, &[1, 21]),
        (0x236, &[0x3f, 0]),
        (0x238, &2047u32.to_le_bytes()),
        (0x258, &0x100_0000u64.to_le_bytes()),
        (0x260, &0x10_0000u32.to_le_bytes()),
    ] {
        image[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// Where the hand-off blocks of that firmware go.
pub(crate) const TD_HOB: u64 = 0x80_9000;

/// Two pages: variables and a descriptor, then code. The descriptor is found by the number at end - 0x20.
pub(crate) fn tdvf() -> Vec<u8> {
    // Offset and size in the file, address, size, type, attributes.
    let sections: [(u32, u32, u64, u64, u32, u32); 4] = [
        (0x1000, 0x1000, 0xffff_f000, 0x1000, 0, 1),
        (0, 0x800, 0xffff_e000, 0x1000, 1, 0),
        (0, 0, TD_HOB, 0x2000, 2, 0),
        (0, 0, 0x80_0000, 0x6000, 3, 0),
    ];
    let mut block = b"\xf3\xf9\xea\xe9\x8e\x16\xd5\x44\xa8\xeb\x7f\x4d\x87\x38\xf6\xaeTDVF".to_vec();
    let count = sections.len() as u32;
    for number in [16 + 32 * count, 1, count] {
        block.extend(number.to_le_bytes());
    }
    for (data, len, gpa, size, kind, attributes) in sections {
        block.extend(data.to_le_bytes());
        block.extend(len.to_le_bytes());
        block.extend(gpa.to_le_bytes());
        block.extend(size.to_le_bytes());
        block.extend(kind.to_le_bytes());
        block.extend(attributes.to_le_bytes());
    }
    let mut image = vec![0; 0x2000];
    let at = 0x800;
    image[at..at + block.len()].copy_from_slice(&block);
    let distance = (image.len() - at - 16) as u32;
    let number = image.len() - 0x20;
    image[number..number + 4].copy_from_slice(&distance.to_le_bytes());
    image
}
