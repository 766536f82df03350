//! ELF files: their headers, and the plan of a guest that is nothing but one.

#![no_main]

use std::fs::File;
use std::io::Write;

use cloister_firmware::linux::{Elf, KernelImage};
use cloister_firmware::plan::{Identity, ImageFile, InitialPrivacy, PayloadBoot, plan_payload};
use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, memfd_create};

fuzz_target!(|data: &[u8]| {
    let mut bytes = data.to_vec();
    if bytes.len() > 64 && bytes[0] % 4 != 0 {
        // Class, byte order, type, machine, size of a program header: constants, and so no work for a fuzzer.
        bytes[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\x00");
        bytes[16..20].copy_from_slice(&[2, 0, 62, 0]);
        bytes[54..56].copy_from_slice(&[56, 0]);
    }
    let mut file = File::from(memfd_create("elf", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(&bytes).unwrap();
    let Ok(image) = ImageFile::from_file(file, "fuzz") else { return };
    match Elf::parse(&image) {
        Ok(elf) => assert!(elf.segments.iter().all(|s| s.file_size <= s.memory_size)),
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
    let _ = KernelImage::detect(&image);
    let plan = plan_payload(PayloadBoot {
        image,
        params: vec![7; 64],
        extra: Vec::new(),
        memory: 64 << 20,
        vcpus: 2,
        signature: 0xa0_0f11,
        identity: Identity::default(),
        initial: InitialPrivacy::Private,
        snp_pages: true,
        c_bit: None,
    });
    if let Ok(plan) = plan {
        plan.check().unwrap();
        for run in &plan.pages {
            run.read(0, &mut [0; 4096]).unwrap();
        }
    }
});
