//! OVMF images: every structure read, every launch planned; what is planned is measured, in two ways.

#![no_main]

use cloister_firmware::linux::{Blob, KernelHashes};
use cloister_firmware::measure::{PlanHashes, hash_pages, measure_snp, measure_snp_hashed};
use cloister_firmware::ovmf::{Firmware, known};
use cloister_firmware::plan::{FirmwareBoot, Identity, Profile, Svsm, plan_firmware};
use libfuzzer_sys::fuzz_target;

const PROFILES: [Profile; 4] = [Profile::Qemu, Profile::Ec2, Profile::Gce, Profile::Cloister];

/// Whole pages with `data` at their end, where the table is; mostly with the footer's GUID in its place.
fn image(data: &[u8]) -> Vec<u8> {
    let mut image = vec![0; data.len().next_multiple_of(4096).max(4096) - data.len()];
    image.extend(data);
    if data.first().is_some_and(|flag| flag % 8 != 0) {
        let footer = image.len() - 0x30;
        image[footer..footer + 16].copy_from_slice(&known::TABLE_FOOTER.0);
    }
    image
}

fuzz_target!(|data: &[u8]| {
    let firmware = match Firmware::parse(image(data)) {
        Ok(firmware) => firmware,
        Err(error) => {
            assert!(!error.to_string().contains('\n'));
            return;
        }
    };
    let _ = (firmware.secret_area(), firmware.igvm_parameters(), firmware.svsm_entry());
    for entry in &firmware.table().entries {
        assert_eq!(firmware.data(entry).len(), entry.len);
    }
    let hashes = KernelHashes::new(&Blob::empty(), None, "console=ttyS0");
    for profile in PROFILES {
        for (hashes, svsm) in [(None, false), (Some(hashes), false), (None, true)] {
            let svsm = svsm.then_some(Svsm { image: &firmware, vars_size: 0x8_4000 });
            let planned = plan_firmware(FirmwareBoot {
                firmware: &firmware,
                svsm,
                hashes,
                profile,
                memory: 256 << 20,
                vcpus: 2,
                signature: 0xa0_0f11,
                identity: Identity::default(),
            });
            let plan = match planned {
                Ok(plan) => plan,
                Err(error) => {
                    assert!(!error.to_string().contains('\n'));
                    continue;
                }
            };
            if plan.pages.iter().map(|run| run.pages).sum::<u64>() > 64 {
                continue;
            }
            let mut ahead = PlanHashes::default();
            for (run, first, count) in PlanHashes::pieces(&plan, 3) {
                ahead.push(run, hash_pages(&plan.pages[run], first, count).unwrap());
            }
            let measured = measure_snp(&plan).unwrap();
            assert_eq!(measured, measure_snp_hashed(&plan, &ahead).unwrap());
        }
    }
});
