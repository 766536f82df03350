//! IGVM files: read, measured by every loader, planned for every platform. Whatever is planned must measure
//! as it was predicted.

#![no_main]

use std::fs::File;
use std::io::Write;

use cloister_firmware::igvm::{IgvmFile, PlatformType, write};
use cloister_firmware::measure::{measure_igvm, measure_snp};
use cloister_firmware::plan::{Identity, IgvmBoot, ImageFile, InitialPrivacy, Loader, plan_igvm};
use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, memfd_create};

const LOADERS: [Loader; 4] = [Loader::Cloister, Loader::Qemu, Loader::CloudHypervisor, Loader::Igvm];

fuzz_target!(|data: &[u8]| {
    let mut bytes = data.to_vec();
    // Magic, length and checksum are found by no fuzzer; one byte says whether they are made right.
    if bytes.len() > 32 && bytes[0] == b'I' {
        bytes[..4].copy_from_slice(b"IGVM");
        let len = bytes.len() as u32;
        bytes[16..20].copy_from_slice(&len.to_le_bytes());
        write::seal(&mut bytes);
    }
    let mut file = File::from(memfd_create("igvm", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(&bytes).unwrap();
    let Ok(image) = ImageFile::from_file(file, "fuzz") else { return };
    let file = match IgvmFile::read(image) {
        Ok(file) => file,
        Err(error) => {
            assert!(!error.to_string().contains('\n'));
            return;
        }
    };
    for loader in LOADERS {
        let _ = measure_igvm(&file, PlatformType::TDX, loader);
        let predicted = measure_igvm(&file, PlatformType::SEV_SNP, loader);
        for platform in [PlatformType::SEV_SNP, PlatformType::NATIVE] {
            let planned = plan_igvm(&IgvmBoot {
                file: &file,
                platform,
                loader,
                memory: 256 << 20,
                vcpus: None,
                signature: 0xa0_0f11,
                cmdline: "console=ttyS0",
                madt: Some(&[7; 64]),
                identity: Identity::default(),
                initial: InitialPrivacy::Private,
            });
            let Ok(planned) = planned else { continue };
            planned.plan.check().unwrap();
            if platform == PlatformType::SEV_SNP && loader != Loader::Igvm {
                let measured = measure_snp(&planned.plan).unwrap();
                // A file without vCPU states is launched with one at reset, which the file says nothing of.
                match &predicted {
                    Ok(predicted) if predicted.stages.len() == measured.stages.len() => {
                        assert_eq!(predicted.digest, measured.digest);
                    }
                    Ok(predicted) => assert_eq!(predicted.stages.len() + 1, measured.stages.len()),
                    Err(error) => panic!("planned, but not measured: {error}"),
                }
            }
        }
    }
});
