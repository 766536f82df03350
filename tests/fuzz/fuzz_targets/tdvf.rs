//! TDVF metadata: read, planned, its hand-off blocks built; what is planned is measured in both orders.

#![no_main]

use cloister_firmware::measure::{Passes, measure_tdx};
use cloister_firmware::ovmf::{Firmware, Guid, known};
use cloister_firmware::plan::{GuestLayout, Identity, TdxBoot, plan_tdx};
use cloister_firmware::tdvf::{Tdvf, td_hob};
use libfuzzer_sys::fuzz_target;

const DESCRIPTOR: Guid = Guid::new(0xe9eaf9f3_168e_44d5_a8eb_7f4d8738f6ae);

/// An image with `data` as its descriptor, found by the table or without it.
fn image(data: &[u8]) -> Vec<u8> {
    let mut image = DESCRIPTOR.0.to_vec();
    image.extend(b"TDVF");
    image.extend(data);
    image.resize((image.len() + 0x100).next_multiple_of(4096), 0);
    // Length and version are found by no fuzzer in the time that there is.
    let count = u32::from_le_bytes(image[28..32].try_into().unwrap());
    if count <= 8 {
        image[20..24].copy_from_slice(&(16 + 32 * count).to_le_bytes());
        image[24..28].copy_from_slice(&1u32.to_le_bytes());
    }
    let end = image.len();
    let distance = (end as u32 - 16).to_le_bytes();
    if data.first().is_some_and(|flag| flag % 4 == 0) {
        image[end - 0x20..end - 0x1c].copy_from_slice(&distance);
        return image;
    }
    let table = end - 0x20 - 40;
    image[table..table + 4].copy_from_slice(&distance);
    image[table + 4..table + 6].copy_from_slice(&22u16.to_le_bytes());
    image[table + 6..table + 22].copy_from_slice(&known::TDX_METADATA.0);
    image[table + 22..table + 24].copy_from_slice(&40u16.to_le_bytes());
    image[table + 24..table + 40].copy_from_slice(&known::TABLE_FOOTER.0);
    image
}

fuzz_target!(|data: &[u8]| {
    let Ok(firmware) = Firmware::parse(image(data)) else { return };
    let tdvf = match Tdvf::parse(&firmware) {
        Ok(Some(tdvf)) => tdvf,
        Ok(None) => return,
        Err(error) => {
            assert!(!error.to_string().contains('\n'));
            return;
        }
    };
    let layout = GuestLayout::new(5 << 30);
    if let Ok(hob) = td_hob(&tdvf, &layout.ram) {
        assert!(hob.len() as u64 <= tdvf.hob().unwrap().size);
    }
    let boot = TdxBoot { firmware: &firmware, layout, vcpus: 2, identity: Identity::default() };
    let Ok(plan) = plan_tdx(boot) else { return };
    if plan.pages.iter().map(|run| run.pages).sum::<u64>() <= 64 {
        measure_tdx(&plan, Passes::Single).unwrap();
        measure_tdx(&plan, Passes::Two).unwrap();
    }
});
