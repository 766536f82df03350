//! Tables of kernel hashes: what is read from one must be what a table of the same hashes says.

#![no_main]

use cloister_firmware::linux::KernelHashes;
use libfuzzer_sys::fuzz_target;

const GUIDS: [u128; 4] = [
    0x9438d606_4f22_4cc9_b479_a793d411fd21,
    0x97d02dd8_bd20_4c94_aa78_e7714d36ab2a,
    0x44baf731_3a2f_4bd7_9af1_41e29169781d,
    0x4de79437_abd2_427f_b835_d5b172d2045b,
];

/// Bytes in which 0xf0 to 0xf3 stand for the GUIDs, so that a fuzzer need not find them.
fn table(data: &[u8]) -> Vec<u8> {
    let mut table = Vec::with_capacity(data.len());
    for &byte in data {
        match GUIDS.get(usize::from(byte.wrapping_sub(0xf0))) {
            Some(&guid) => table.extend(cloister_firmware::ovmf::Guid::new(guid).0),
            None => table.push(byte),
        }
    }
    table
}

fuzz_target!(|data: &[u8]| {
    for bytes in [data.to_vec(), table(data)] {
        match KernelHashes::parse(&bytes) {
            Ok(hashes) => assert_eq!(KernelHashes::parse(&hashes.table()).unwrap(), hashes),
            Err(error) => assert!(!error.to_string().contains('\n')),
        }
    }
});
