//! Kernels: what kind they are, their setup header, and the plan of a guest that boots them.

#![no_main]

use std::fs::File;
use std::io::Write;

use cloister_firmware::linux::KernelImage;
use cloister_firmware::plan::{Identity, ImageFile, InitialPrivacy, LinuxBoot, SnpPages, plan_linux};
use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, memfd_create};

fuzz_target!(|data: &[u8]| {
    let mut bytes = data.to_vec();
    if bytes.len() > 0x300 && bytes[0] % 4 != 0 {
        bytes[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        // Also no work for a fuzzer: that the file has the length which its header says.
        if bytes[0] % 4 > 1 {
            let code = bytes.len().saturating_sub((usize::from(bytes[0x1f1].max(1)) + 1) * 512);
            bytes[0x1f4..0x1f8].copy_from_slice(&(code as u32 / 16).to_le_bytes());
        }
    }
    let mut file = File::from(memfd_create("kernel", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(&bytes).unwrap();
    let Ok(kernel) = ImageFile::from_file(file, "fuzz") else { return };
    if let Err(error) = KernelImage::detect(&kernel) {
        assert!(!error.to_string().contains('\n'));
        return;
    }
    for (snp_pages, c_bit) in [(SnpPages::Absent, None), (SnpPages::Announced, Some(51))] {
        let plan = plan_linux(LinuxBoot {
            kernel: kernel.clone(),
            initrd: Some(kernel.clone()),
            cmdline: "console=ttyS0".into(),
            memory: 256 << 20,
            vcpus: 2,
            signature: 0xa0_0f11,
            acpi: vec![7; 64],
            identity: Identity::default(),
            initial: InitialPrivacy::Private,
            snp_pages,
            c_bit,
        });
        if let Ok(plan) = plan {
            plan.check().unwrap();
            for run in &plan.pages {
                run.read(0, &mut [0; 4096]).unwrap();
            }
        }
    }
});
