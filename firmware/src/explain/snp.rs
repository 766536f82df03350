//! Search for the inputs that give a launch digest.
//!
//! What comes early in the launch is hashed once: the firmware's pages once for each file, the sections once
//! for each way to make kernel hashes and each launcher; then only vCPUs are left, whose number costs nothing,
//! because every prefix of them is a digest of its own.

use sha2::{Digest, Sha384};

use super::kernel::{KernelInputs, KernelVariant, variants};
use super::signatures::{Signature, signatures};
use crate::measure::{Digest384, MeasureError, SnpDigest, vmsa_page};
use crate::ovmf::Firmware;
use crate::plan::{FirmwareBoot, Identity, PlanError, Profile, plan_firmware};

/// Numbers of vCPUs that are tried: from 1 to this.
pub const MAX_VCPUS: u32 = 512;
/// Debug swap: KVM of Linux 6.6 to 6.8 set it by itself.
const DEBUG_SWAP: u64 = 1 << 5;
/// Secure TSC.
const SECURE_TSC: u64 = 1 << 9;

const PROFILES: [Profile; 4] = [Profile::Qemu, Profile::Ec2, Profile::Ec2RdxZero, Profile::Gce];

/// A firmware file, and the digest after its pages.
#[derive(Debug, Clone)]
pub struct KnownFirmware {
    /// Its path, for people.
    pub name: String,
    /// The image.
    pub firmware: Firmware,
    /// The launch digest after its pages, from the first stage of any measurement of it.
    pub after: Digest384,
}

/// What the prediction was made from.
#[derive(Debug, Clone)]
pub struct Given {
    /// Who launches.
    pub profile: Profile,
    /// Number of vCPUs; the last one if a range was given.
    pub vcpus: u32,
    /// CPU signature.
    pub signature: u32,
    /// SEV features of the VMSA, without SNP_ACTIVE.
    pub vmsa_features: u64,
    /// Kernel, initrd, command line, if the firmware is handed a kernel.
    pub kernel: Option<KernelInputs>,
    /// Signature of the host's CPU, if evidence says it.
    pub host_signature: Option<u32>,
}

/// What leads to the same pages: everything but the vCPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Combination {
    firmware: usize,
    kernel: usize,
    profile: Profile,
}

/// Inputs that give the digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Who launched.
    pub profile: Profile,
    /// Index of the firmware file.
    pub firmware: usize,
    /// How the kernel hashes were made.
    pub kernel: KernelVariant,
    /// Number of vCPUs.
    pub vcpus: u32,
    /// Signature in RDX; `None` if the launcher does not put one there.
    pub signature: Option<Signature>,
    /// SEV features, without SNP_ACTIVE.
    pub vmsa_features: u64,
    /// How all of this differs from what was given, for people. Empty if it does not.
    pub differences: Vec<String>,
}

/// A search, prepared. Its combinations are independent of each other: callers with threads divide them.
#[derive(Debug)]
pub struct SnpSearch {
    firmware: Vec<KnownFirmware>,
    given: Given,
    kernels: Vec<KernelVariant>,
    signatures: Vec<Signature>,
    features: Vec<u64>,
}

impl SnpSearch {
    /// A search around what was `given`; the first of `firmware` is the one that was given.
    pub fn new(firmware: Vec<KnownFirmware>, given: Given) -> Self {
        let kernels = variants(given.kernel.as_ref());
        let signatures = signatures(given.signature, given.host_signature);
        let f = given.vmsa_features;
        let mut features = Vec::new();
        for value in [f, 0, DEBUG_SWAP, SECURE_TSC, DEBUG_SWAP | SECURE_TSC, f ^ DEBUG_SWAP, f ^ SECURE_TSC] {
            if !features.contains(&value) {
                features.push(value);
            }
        }
        SnpSearch { firmware, given, kernels, signatures, features }
    }

    /// Everything that is to be tried, what was given first.
    pub fn combinations(&self) -> Vec<Combination> {
        let first = match self.given.profile {
            Profile::Cloister => Profile::Qemu,
            other => other,
        };
        let profiles = [first].into_iter().chain(PROFILES.into_iter().filter(move |p| *p != first));
        profiles
            .flat_map(|profile| (0..self.firmware.len()).map(move |firmware| (profile, firmware)))
            .flat_map(|(profile, firmware)| {
                (0..self.kernels.len()).map(move |kernel| Combination { firmware, kernel, profile })
            })
            .collect()
    }

    /// How many digests are compared in all.
    pub fn size(&self) -> u64 {
        let counts = u64::from(self.max_vcpus());
        let of = |profile: Profile| if profile.measures_model() { self.signatures.len() } else { 1 };
        let vcpus = |profile| (of(profile) as u64).saturating_mul(self.features.len() as u64);
        self.combinations().iter().map(|c| vcpus(c.profile).saturating_mul(counts)).sum()
    }

    /// The name of a firmware file.
    pub fn firmware_name(&self, index: usize) -> &str {
        self.firmware.get(index).map_or("", |f| &f.name)
    }

    /// The names of all firmware files.
    pub fn firmware_names(&self) -> String {
        self.firmware.iter().map(|f| f.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Whether a kernel was given, whose hashes are tried.
    pub fn has_kernel(&self) -> bool {
        self.given.kernel.is_some()
    }

    fn max_vcpus(&self) -> u32 {
        self.given.vcpus.max(MAX_VCPUS)
    }

    /// Tries one combination with every number and kind of vCPUs. A combination that cannot be launched,
    /// such as kernel hashes in a firmware that has no place for them, gives no digest.
    pub fn try_one(&self, one: Combination, wanted: Digest384) -> Result<Option<Found>, MeasureError> {
        let (Some(known), Some(kernel)) = (self.firmware.get(one.firmware), self.kernels.get(one.kernel))
        else {
            return Ok(None);
        };
        let plan = |vcpus| -> Result<_, PlanError> {
            plan_firmware(FirmwareBoot {
                firmware: &known.firmware,
                svsm: None,
                hashes: kernel.hashes,
                profile: one.profile,
                memory: 0,
                vcpus,
                signature: 0,
                identity: Identity::default(),
            })
        };
        let Ok(plan) = plan(2).or_else(|_| plan(1)) else { return Ok(None) };
        let mut after_pages = SnpDigest::after(known.after);
        for run in plan.pages.iter().skip(1) {
            after_pages.update_run(run)?;
        }
        let [bsp, others @ ..] = plan.vcpus.as_slice() else { return Ok(None) };
        let unmeasured = Signature { value: 0, name: String::new() };
        let signatures = match one.profile.measures_model() {
            true => self.signatures.as_slice(),
            false => std::slice::from_ref(&unmeasured),
        };
        for signature in signatures {
            for &features in &self.features {
                let hash = |cpu: &crate::plan::CpuState| -> [u8; 48] {
                    let mut cpu = cpu.clone();
                    if one.profile.measures_model() {
                        cpu.rdx = u64::from(signature.value);
                    }
                    Sha384::digest(vmsa_page(&cpu, features)).into()
                };
                let (first, other) = (hash(bsp), others.first().map(hash));
                let mut digest = after_pages.clone();
                digest.update_vmsa_hash(&first);
                for vcpus in 1..=self.max_vcpus() {
                    if digest.value() == wanted {
                        return Ok(Some(self.found(one, kernel, vcpus, signature, features)));
                    }
                    let Some(other) = &other else { break };
                    digest.update_vmsa_hash(other);
                }
            }
        }
        Ok(None)
    }

    fn found(
        &self,
        one: Combination,
        kernel: &KernelVariant,
        vcpus: u32,
        signature: &Signature,
        vmsa_features: u64,
    ) -> Found {
        let given = &self.given;
        let mut differences = Vec::new();
        let same_launcher = given.profile == one.profile
            || (given.profile == Profile::Cloister && one.profile == Profile::Qemu);
        if !same_launcher {
            differences.push(format!("launcher {}, not {}", one.profile.name(), given.profile.name()));
        }
        if one.firmware != 0 {
            let (found, wanted) = (self.firmware_name(one.firmware), self.firmware_name(0));
            differences.push(format!("firmware {found}, not {wanted}"));
        }
        differences.extend(kernel.differences.iter().cloned());
        if vcpus != given.vcpus {
            differences.push(format!("{vcpus} vCPUs, not {}", given.vcpus));
        }
        let measured = one.profile.measures_model();
        if measured && signature.value != given.signature {
            let Signature { value, name } = signature;
            differences.push(format!("CPU signature {value:#x} ({name}), not {:#x}", given.signature));
        }
        if vmsa_features != given.vmsa_features {
            let name = |features: u64| format!("{:#x}", features | 1);
            let (found, wanted) = (name(vmsa_features), name(given.vmsa_features));
            differences.push(format!("guest features {found}{}, not {wanted}", feature_names(vmsa_features)));
        }
        Found {
            profile: one.profile,
            firmware: one.firmware,
            kernel: kernel.clone(),
            vcpus,
            signature: measured.then(|| signature.clone()),
            vmsa_features,
            differences,
        }
    }
}

fn feature_names(features: u64) -> &'static str {
    match (features & DEBUG_SWAP != 0, features & SECURE_TSC != 0) {
        (true, true) => " (with debug swap and Secure TSC)",
        (true, false) => " (with debug swap)",
        (false, true) => " (with Secure TSC)",
        (false, false) => "",
    }
}

#[cfg(test)]
#[path = "snp_tests.rs"]
mod tests;
