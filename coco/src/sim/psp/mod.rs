//! The secure processor and KVM's half of its commands, in software (arch/x86/kvm/svm/sev.c; SEV-SNP
//! firmware ABI 56860; coco.md 2.2-2.9).
//!
//! Where the kernel passes over padding that is not zero, this refuses it, so that a launcher which a later
//! kernel could refuse is found now. In all else it follows the kernel, also where that is surprising: an
//! INIT2 after INIT2 is EPERM, a page that is added twice is EIO without a word of the firmware, and a
//! signal shows as EIO too.

mod cpuid_page;
mod cpuid_policy;
mod finish;
mod id_block;
mod pages;
mod platform;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use kvm_bindings::{kvm_regs, kvm_sregs};
use p384::ecdsa::SigningKey;

pub(super) use self::id_block::Owner;
pub use self::platform::SnpPlatform;
use super::certs;
use super::digest::LaunchDigest;
use super::report::{Facts, REPORT_SIZE, report};
use super::user::read;
use super::weather::Weather;
use crate::memory::{GuestRam, SharedMemory};
use crate::snp::SevIoctl;
use crate::snp::abi::{CommandId, FirmwareCode, Init, LaunchStart, SevCmd};

/// Registers of every vCPU in creation order, as KVM holds them when LAUNCH_FINISH comes.
pub trait VcpuRegisters: Send + Sync {
    /// Reads them.
    fn registers(&self) -> std::io::Result<Vec<(kvm_regs, kvm_sregs)>>;
}

/// A simulated PSP for one guest.
pub struct SimPsp {
    ram: GuestRam,
    memory: SharedMemory,
    vcpus: Arc<dyn VcpuRegisters>,
    platform: SnpPlatform,
    key: SigningKey,
    guest: Mutex<Guest>,
}

/// The guest as KVM and the PSP keep it.
#[derive(Debug)]
struct Guest {
    weather: Weather,
    stage: Stage,
    /// KVM has handed vCPU states to the firmware: from there on it is FINISH or nothing.
    vmsas_added: bool,
    vcpus_created: bool,
    certificates: bool,
    dev_sev_open: bool,
    /// The number at which `/dev/sev` was open at LAUNCH_START. KVM takes it, and not the one that comes
    /// with the command, for FINISH and for every request of the guest.
    start_fd: u32,
    vmsa_features: u64,
    policy: u64,
    host_data: [u8; 32],
    owner: Owner,
    vcek_disabled: bool,
    report_id: [u8; 32],
    digest: LaunchDigest,
    assigned: BTreeSet<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Stage {
    /// KVM_CREATE_VM.
    Created,
    /// INIT2.
    Initialised,
    /// LAUNCH_START.
    Started,
    /// LAUNCH_FINISH.
    Running,
}

/// A refusal: errno, and the firmware's code if it was asked.
type Refusal = (i32, Option<FirmwareCode>);

/// KVM refuses without asking the firmware.
fn kvm(errno: i32) -> Refusal {
    (errno, None)
}

/// The firmware refuses; KVM says EIO.
fn firmware(code: FirmwareCode) -> Refusal {
    (libc::EIO, Some(code))
}

/// The first command that KVM takes for an SNP guest once it is one.
const FIRST_SNP_COMMAND: u32 = 100;

impl SimPsp {
    /// A PSP for a guest whose pages go to `ram` (privacy as `memory` has it) and whose vCPUs are
    /// `vcpus`, on the platform that there is by default.
    pub fn new(ram: GuestRam, memory: SharedMemory, vcpus: Arc<dyn VcpuRegisters>) -> std::io::Result<Self> {
        Self::on(SnpPlatform::default(), ram, memory, vcpus)
    }

    /// The same, on `platform`.
    pub fn on(
        platform: SnpPlatform,
        ram: GuestRam,
        memory: SharedMemory,
        vcpus: Arc<dyn VcpuRegisters>,
    ) -> std::io::Result<Self> {
        let mut report_id = [0; 32];
        fill_random(&mut report_id)?;
        let guest = Guest {
            weather: platform.weather.clone(),
            stage: Stage::Created,
            vmsas_added: false,
            vcpus_created: false,
            certificates: false,
            dev_sev_open: true,
            start_fd: 0,
            vmsa_features: 0,
            policy: 0,
            host_data: [0; 32],
            owner: Owner::default(),
            vcek_disabled: false,
            report_id,
            digest: LaunchDigest::new(),
            assigned: BTreeSet::new(),
        };
        let key = certs::vcek_key()?;
        Ok(SimPsp { ram, memory, vcpus, platform, key, guest: Mutex::new(guest) })
    }

    /// A vCPU was created: INIT2 and SNP_ENABLE_REQ_CERTS come too late now.
    pub fn vcpu_created(&self) {
        self.guest().vcpus_created = true;
    }

    /// `/dev/sev` was closed, or its number given to something else: every later command of the firmware
    /// fails, and so do reports.
    pub fn close_dev_sev(&self) {
        self.guest().dev_sev_open = false;
    }

    /// The digest of what has arrived so far.
    pub fn digest(&self) -> [u8; 48] {
        self.guest().digest.value()
    }

    /// Whether LAUNCH_FINISH was done: only then does KVM run the guest's vCPUs.
    pub fn running(&self) -> bool {
        self.guest().stage == Stage::Running
    }

    /// Whether the guest's requests for certificates come to us (SNP_ENABLE_REQ_CERTS).
    pub fn certificates_enabled(&self) -> bool {
        self.guest().certificates
    }

    /// A signed report for a running guest, followed by the certificate table. None before LAUNCH_FINISH,
    /// without `/dev/sev`, or if the launch forbids the VCEK: there is no VLEK here.
    pub fn report(&self, report_data: &[u8; 64]) -> Option<Vec<u8>> {
        let guest = self.guest();
        let reachable = self.dev_sev(&guest, guest.start_fd).is_ok();
        if guest.stage != Stage::Running || !reachable || guest.vcek_disabled {
            return None;
        }
        let facts = Facts {
            form: self.platform.report,
            abi: self.platform.abi,
            platform_info: self.platform.info,
            policy: guest.policy,
            owner: &guest.owner,
            report_data,
            measurement: &guest.digest.value(),
            host_data: &guest.host_data,
            report_id: &guest.report_id,
        };
        let mut out = Vec::with_capacity(REPORT_SIZE + 8192);
        out.extend_from_slice(&report(&facts, &self.key));
        out.extend_from_slice(&certs::table(self.platform.report.layout));
        Some(out)
    }

    fn guest(&self) -> MutexGuard<'_, Guest> {
        self.guest.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// KVM finds `/dev/sev` at `fd`.
    fn dev_sev(&self, guest: &Guest, fd: u32) -> Result<(), Refusal> {
        let there = guest.dev_sev_open && self.platform.sev_fd.is_none_or(|open_at| open_at == fd);
        if there { Ok(()) } else { Err(kvm(libc::EBADF)) }
    }

    fn init2(&self, address: u64) -> Result<(), Refusal> {
        let init: Init = read(address).map_err(kvm)?;
        let mut guest = self.guest();
        let known = init.vmsa_features & !self.platform.vmsa_features == 0;
        let version = init.ghcb_version == 0 || init.ghcb_version == 2;
        let padded = init.pad1 == 0 && init.pad2 == [0; 8];
        if guest.vcpus_created || init.flags != 0 || !known || !version || !padded {
            return Err(kvm(libc::EINVAL));
        }
        guest.vmsa_features = init.vmsa_features;
        guest.stage = Stage::Initialised;
        Ok(())
    }

    fn enable_certificates(&self) -> Result<(), Refusal> {
        let mut guest = self.guest();
        if !self.platform.certificates || guest.stage == Stage::Created || guest.vcpus_created {
            return Err(kvm(libc::EINVAL));
        }
        guest.certificates = true;
        Ok(())
    }

    fn start(&self, fd: u32, address: u64) -> Result<(), Refusal> {
        let mut guest = self.guest();
        if guest.stage == Stage::Created {
            return Err(kvm(libc::ENOTTY));
        }
        let start: LaunchStart = read(address).map_err(kvm)?;
        let padded = start.pad0 == [0; 6] && start.pad1 == [0; 4];
        if guest.stage != Stage::Initialised
            || start.flags != 0
            || !padded
            || !self.platform.kvm_takes(start.policy)
        {
            return Err(kvm(libc::EINVAL));
        }
        self.dev_sev(&guest, fd)?;
        if !self.platform.meets(start.policy) {
            // KVM drops the context again: START may be tried with another policy.
            return Err(firmware(FirmwareCode::POLICY_FAILURE));
        }
        guest.policy = start.policy;
        guest.start_fd = fd;
        guest.stage = Stage::Started;
        Ok(())
    }
}

impl SevIoctl for SimPsp {
    fn encrypt_op(&self, cmd: &mut SevCmd) -> Result<(), i32> {
        let started = self.guest().stage != Stage::Created;
        let result = match CommandId(cmd.id) {
            _ if started && cmd.id < FIRST_SNP_COMMAND => Err(kvm(libc::EPERM)),
            CommandId::INIT2 => self.init2(cmd.data),
            CommandId::ENABLE_REQ_CERTS => self.enable_certificates(),
            CommandId::LAUNCH_START => self.start(cmd.sev_fd, cmd.data),
            CommandId::LAUNCH_UPDATE => self.update(cmd.sev_fd, cmd.data),
            CommandId::LAUNCH_FINISH => self.finish(cmd.sev_fd, cmd.data),
            _ => Err(kvm(libc::EINVAL)),
        };
        result.map_err(|(errno, code)| {
            // What was there stays there if the firmware was not asked, as in the kernel.
            if let Some(code) = code {
                cmd.error = code.0;
            }
            errno
        })
    }
}

impl std::fmt::Debug for SimPsp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimPsp").field("stage", &self.guest().stage).finish_non_exhaustive()
    }
}

fn fill_random(mut buf: &mut [u8]) -> std::io::Result<()> {
    while !buf.is_empty() {
        let n = rustix::rand::getrandom(&mut *buf, rustix::rand::GetRandomFlags::empty())?;
        buf = &mut buf[n..];
    }
    Ok(())
}

#[cfg(test)]
mod tests;
