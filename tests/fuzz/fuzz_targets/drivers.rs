//! A TD's firmware whose drivers are hostile: packed as they come, or whatever they unpack to.

#![no_main]

use std::io::Write;

use cloister_firmware::measure::Digest384;
use cloister_firmware::measure::rtmr::{TdBoot, TdKernel, predict_rtmrs};
use cloister_firmware::ovmf::{Firmware, Guid};
use cloister_firmware::plan::MemoryRange;
use libfuzzer_sys::fuzz_target;
use lzma_rust2::{LzmaOptions, LzmaWriter};

const DESCRIPTOR: Guid = Guid::new(0xe9eaf9f3_168e_44d5_a8eb_7f4d8738f6ae);
const LZMA: Guid = Guid::new(0xee4e5898_3914_4259_9d6e_dc7bd79403cf);
/// Bytes for the drivers.
const ROOM: usize = 0x1000;

fn pack(data: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let options = LzmaOptions { dict_size: 4096, ..LzmaOptions::with_preset(0) };
    let mut writer = LzmaWriter::new_use_header(&mut packed, &options, Some(data.len() as u64)).unwrap();
    writer.write_all(data).unwrap();
    writer.finish().unwrap();
    packed
}

/// Metadata, variables, code: a page each; then the section with the drivers, and a page with the number that says
/// where the metadata is.
fn image(packed: &[u8]) -> Vec<u8> {
    let sections: [(u32, u32, u64, u64, u32, u32); 4] = [
        (0x2000, 0x1000, 0xffff_f000, 0x1000, 0, 1),
        (0x1000, 0x1000, 0xffff_e000, 0x1000, 1, 0),
        (0, 0, 0x80_9000, 0x2000, 2, 0),
        (0, 0, 0x80_0000, 0x6000, 3, 0),
    ];
    let mut image = DESCRIPTOR.0.to_vec();
    image.extend(b"TDVF");
    image.extend([16 + 32 * 4u32, 1, 4].iter().flat_map(|n| n.to_le_bytes()));
    for (data, len, gpa, size, kind, attributes) in sections {
        image.extend([data, len].iter().flat_map(|n| n.to_le_bytes()));
        image.extend([gpa, size].iter().flat_map(|n| n.to_le_bytes()));
        image.extend([kind, attributes].iter().flat_map(|n| n.to_le_bytes()));
    }
    image.resize(0x1000, 0);
    // A store without variables (`MdeModulePkg/Include/Guid/VariableFormat.h` of edk2).
    let mut volume = [0xff; 0x1000];
    volume[..0x64].fill(0);
    volume[0x28..0x2c].copy_from_slice(b"_FVH");
    volume[0x30] = 0x48;
    volume[0x48..0x58].copy_from_slice(&Guid::new(0xaaf32c78_947b_439a_a180_2e144ec37792).0);
    volume[0x58..0x5c].copy_from_slice(&(0x1000u32 - 0x48).to_le_bytes());
    image.extend(volume);
    image.resize(0x3000, 0);
    let size = (packed.len() as u32 + 24).to_le_bytes();
    image.extend([size[0], size[1], size[2], 2]);
    image.extend(LZMA.0);
    image.extend([24, 0, 1, 0]);
    image.extend(packed);
    image.resize(0x4000 + ROOM, 0);
    let end = image.len();
    image[end - 0x20..end - 0x1c].copy_from_slice(&(end as u32 - 16).to_le_bytes());
    image
}

fuzz_target!(|data: &[u8]| {
    let Some((mode, data)) = data.split_first() else { return };
    let packed = if mode % 2 == 0 { pack(data) } else { data.to_vec() };
    if packed.len() > ROOM {
        return;
    }
    let firmware = Firmware::parse(image(&packed)).unwrap();
    let acpi = [("etc/table-loader".to_owned(), Digest384::ZERO)];
    let ram = [MemoryRange::new(0, 64 << 20)];
    let boot = TdBoot {
        firmware: &firmware,
        ram: Some(&ram),
        fw_cfg: Some(&[]),
        acpi: Some(&acpi),
        kernel: Some(TdKernel {
            image: Digest384::ZERO,
            initrd: Some(Digest384::ZERO),
            cmdline: "quiet".into(),
            options: None,
        }),
    };
    let [rtmr0, ..] = predict_rtmrs(&boot).unwrap();
    // Whatever the drivers are: the first two are measured before they run.
    assert!(rtmr0.events.len() >= 2 && rtmr0.unknown.len() <= 1);
});
