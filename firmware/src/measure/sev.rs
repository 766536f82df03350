//! The launch digest of the older SEV and SEV-ES: one SHA-256 over everything that is encrypted
//! (SEV API, LAUNCH_UPDATE_DATA and LAUNCH_UPDATE_VMSA). We launch no such guests; others do.

use sha2::{Digest, Sha256};

use super::vmsa::save_area;
use crate::linux::KernelHashes;
use crate::ovmf::{Firmware, FirmwareError, NoKernelHashesSnafu, NoResetBlockSnafu};
use crate::plan::{Profile, cpu_signature};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SevMode {
    /// SEV: registers are not measured.
    Sev,
    /// SEV-ES: every vCPU's state is.
    SevEs {
        /// Number of vCPUs.
        vcpus: u32,
        /// CPU signature (CPUID leaf 1, EAX).
        signature: u32,
    },
}

impl SevMode {
    /// SEV-ES with a CPU model by its name.
    pub fn es(vcpus: u32, model: &str) -> Option<Self> {
        Some(SevMode::SevEs { vcpus, signature: cpu_signature(model)? })
    }
}

/// Predicts the launch digest of `firmware`, launched by QEMU, with a kernel's hashes if it is handed one.
pub fn measure_sev(
    firmware: &Firmware,
    hashes: Option<&KernelHashes>,
    mode: SevMode,
) -> Result<[u8; 32], FirmwareError> {
    let mut digest = Sha256::new_with_prefix(firmware.bytes());
    if let Some(hashes) = hashes {
        let supported = firmware.hash_area()?.is_some_and(|a| a.gpa != 0);
        if !supported {
            return NoKernelHashesSnafu { missing: "place for a table of kernel hashes" }.fail();
        }
        digest.update(hashes.table());
    }
    if let SevMode::SevEs { vcpus, signature } = mode {
        if vcpus > 0 {
            digest.update(save_area(&Profile::Qemu.first_vcpu(signature), 0));
        }
        if vcpus > 1 {
            let Some(eip) = firmware.reset_eip()? else { return NoResetBlockSnafu.fail() };
            let other = save_area(&Profile::Qemu.other_vcpu(signature, eip), 0);
            (1..vcpus).for_each(|_| digest.update(other));
        }
    }
    Ok(digest.finalize().into())
}
