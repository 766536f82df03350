//! The secure processor and KVM's half of its commands, in software.
#![allow(unsafe_code, reason = "commands carry addresses of our own memory, as they do for the kernel")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use kvm_bindings::{kvm_regs, kvm_sregs};
use p384::ecdsa::SigningKey;
use zerocopy::{FromBytes, IntoBytes};

use super::certs;
use super::digest::LaunchDigest;
use super::report::{Facts, REPORT_SIZE, report};
use super::vmsa::vmsa_page;
use crate::memory::{GuestRam, PAGE_SIZE, SharedMemory};
use crate::snp::SevIoctl;
use crate::snp::abi::{
    CommandId, FirmwareCode, Init, LaunchFinish, LaunchStart, LaunchUpdate, PageType, SevCmd,
};

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
    key: SigningKey,
    guest: Mutex<Guest>,
}

/// The guest context that the PSP keeps.
#[derive(Debug)]
struct Guest {
    stage: Stage,
    vmsa_features: u64,
    policy: u64,
    host_data: [u8; 32],
    report_id: [u8; 32],
    digest: LaunchDigest,
    assigned: BTreeSet<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Stage {
    Created,
    Initialised,
    Started,
    Running,
}

/// A refusal: errno, and the firmware's code if it was the firmware that refused.
type Refusal = (i32, FirmwareCode);

/// KVM refuses without asking the firmware.
fn kvm(errno: i32) -> Refusal {
    (errno, FirmwareCode::NONE)
}

/// The firmware refuses; KVM says EIO.
fn firmware(code: FirmwareCode) -> Refusal {
    (libc::EIO, code)
}

/// Policy bit 17 must be one; bit 18 (migration agent) KVM refuses; bits 0..25 are known.
const POLICY_MUST: u64 = 1 << 17;
const POLICY_KNOWN: u64 = (1 << 26) - 1;
const POLICY_MIGRATE_MA: u64 = 1 << 18;
/// VMSA features that KVM takes from userspace: debug swap and Secure TSC.
const FEATURES_KNOWN: u64 = 1 << 5 | 1 << 9;

impl SimPsp {
    /// A PSP for a guest whose pages go to `ram` (privacy as `memory` has it) and whose vCPUs are
    /// `vcpus`.
    pub fn new(ram: GuestRam, memory: SharedMemory, vcpus: Arc<dyn VcpuRegisters>) -> std::io::Result<Self> {
        let mut report_id = [0; 32];
        fill_random(&mut report_id)?;
        let guest = Guest {
            stage: Stage::Created,
            vmsa_features: 0,
            policy: 0,
            host_data: [0; 32],
            report_id,
            digest: LaunchDigest::new(),
            assigned: BTreeSet::new(),
        };
        let key = certs::vcek_key()?;
        Ok(SimPsp { ram, memory, vcpus, key, guest: Mutex::new(guest) })
    }

    /// The digest of what has arrived so far.
    pub fn digest(&self) -> [u8; 48] {
        self.guest().digest.value()
    }

    /// A signed report for a running guest, followed by the certificate table; none before
    /// LAUNCH_FINISH.
    pub fn report(&self, report_data: &[u8; 64]) -> Option<Vec<u8>> {
        let guest = self.guest();
        if guest.stage != Stage::Running {
            return None;
        }
        let facts = Facts {
            policy: guest.policy,
            report_data,
            measurement: &guest.digest.value(),
            host_data: &guest.host_data,
            report_id: &guest.report_id,
            chip_id: &certs::CHIP_ID,
        };
        let mut out = Vec::with_capacity(REPORT_SIZE + 8192);
        out.extend_from_slice(&report(&facts, &self.key));
        out.extend_from_slice(&certs::table());
        Some(out)
    }

    fn guest(&self) -> MutexGuard<'_, Guest> {
        self.guest.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn init2(&self, init: &Init) -> Result<(), Refusal> {
        let mut guest = self.guest();
        let known = init.vmsa_features & !FEATURES_KNOWN == 0;
        let version = init.ghcb_version == 0 || init.ghcb_version == 2;
        if guest.stage != Stage::Created || init.flags != 0 || !known || !version {
            return Err(kvm(libc::EINVAL));
        }
        guest.vmsa_features = init.vmsa_features;
        guest.stage = Stage::Initialised;
        Ok(())
    }

    fn start(&self, start: &LaunchStart) -> Result<(), Refusal> {
        let mut guest = self.guest();
        let policy = start.policy;
        let legal = policy & POLICY_MUST != 0 && policy & (!POLICY_KNOWN | POLICY_MIGRATE_MA) == 0;
        let padded = start.pad0 == [0; 6] && start.pad1 == [0; 4];
        if guest.stage != Stage::Initialised || start.flags != 0 || !legal || !padded {
            return Err(kvm(libc::EINVAL));
        }
        guest.policy = policy;
        guest.stage = Stage::Started;
        Ok(())
    }

    fn update(&self, update: &mut LaunchUpdate) -> Result<(), Refusal> {
        let mut guest = self.guest();
        let kind = PageType(update.page_type);
        let known = matches!(
            kind,
            PageType::NORMAL | PageType::ZERO | PageType::UNMEASURED | PageType::SECRETS | PageType::CPUID
        );
        let aligned =
            update.len != 0 && update.len.is_multiple_of(PAGE_SIZE) && update.uaddr.is_multiple_of(PAGE_SIZE);
        let padded = update.flags == 0 && update.pad0 == 0 && update.pad1 == 0 && update.pad2 == [0; 4];
        if guest.stage < Stage::Started || !known || !aligned || !padded {
            return Err(kvm(libc::EINVAL));
        }
        if guest.stage == Stage::Running {
            return Err(firmware(FirmwareCode::INVALID_GUEST_STATE));
        }
        let before = update.len;
        while update.len != 0 {
            match self.add_page(&mut guest, kind, update.gfn_start, update.uaddr) {
                Ok(()) => {}
                // Progress is reported first, the refusal at the next call.
                Err(_) if update.len != before => return Ok(()),
                Err(refusal) => return Err(refusal),
            }
            update.gfn_start += 1;
            update.uaddr += PAGE_SIZE;
            update.len -= PAGE_SIZE;
        }
        Ok(())
    }

    fn add_page(&self, guest: &mut Guest, kind: PageType, gfn: u64, uaddr: u64) -> Result<(), Refusal> {
        let gpa = gfn.checked_mul(PAGE_SIZE).ok_or(kvm(libc::EINVAL))?;
        if !self.ram.contains(gpa, PAGE_SIZE) || (kind != PageType::ZERO && uaddr == 0) {
            return Err(kvm(libc::EINVAL));
        }
        if !self.memory.is_private(gpa) {
            return Err(kvm(libc::EIO));
        }
        if guest.assigned.contains(&gfn) {
            return Err(firmware(FirmwareCode::INVALID_PAGE_STATE));
        }
        let mut page = [0u8; PAGE_SIZE as usize];
        if kind != PageType::ZERO {
            // SAFETY: SevIoctl's contract: `uaddr` is the address of `len` live bytes, of which this is
            // one page not yet done; `page` is ours and apart from them.
            unsafe {
                std::ptr::copy_nonoverlapping(uaddr as *const u8, page.as_mut_ptr(), page.len());
            }
        }
        match kind {
            PageType::SECRETS => page = secrets_page().map_err(|_| kvm(libc::EIO))?,
            PageType::CPUID if !cpuid_page_is_good(&page) => {
                return Err(firmware(FirmwareCode::INVALID_PARAM));
            }
            _ => {}
        }
        self.ram.load(gpa, &page).map_err(|_| kvm(libc::EINVAL))?;
        guest.digest.add(kind, gpa, &page);
        guest.assigned.insert(gfn);
        Ok(())
    }

    fn finish(&self, finish: &LaunchFinish) -> Result<(), Refusal> {
        let mut guest = self.guest();
        let padded = finish.flags == 0 && finish.pad0 == [0; 3] && finish.pad1 == [0; 4];
        if guest.stage != Stage::Started || !padded {
            return Err(kvm(libc::EINVAL));
        }
        if finish.id_block_en != 0 || finish.auth_key_en != 0 || finish.vcek_disabled != 0 {
            return Err(firmware(FirmwareCode::INVALID_PARAM));
        }
        let registers = self.vcpus.registers().map_err(|_| kvm(libc::EINVAL))?;
        for (regs, sregs) in &registers {
            let page = vmsa_page(regs, sregs, guest.vmsa_features);
            guest.digest.add_vmsa(&page);
        }
        guest.host_data = finish.host_data;
        guest.stage = Stage::Running;
        Ok(())
    }
}

impl SevIoctl for SimPsp {
    fn encrypt_op(&self, cmd: &mut SevCmd) -> Result<(), i32> {
        cmd.error = 0;
        let result = match CommandId(cmd.id) {
            CommandId::INIT2 => with(cmd.data, |x: &mut Init| self.init2(x)),
            CommandId::LAUNCH_START => with(cmd.data, |x: &mut LaunchStart| self.start(x)),
            CommandId::LAUNCH_UPDATE => with(cmd.data, |x: &mut LaunchUpdate| self.update(x)),
            CommandId::LAUNCH_FINISH => with(cmd.data, |x: &mut LaunchFinish| self.finish(x)),
            _ => Err(kvm(libc::EPERM)),
        };
        result.map_err(|(errno, code)| {
            cmd.error = code.0;
            errno
        })
    }
}

impl std::fmt::Debug for SimPsp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimPsp").field("stage", &self.guest().stage).finish_non_exhaustive()
    }
}

/// Copies the struct at `address` in, lets `f` work on it, and copies it back, as the kernel does.
fn with<T: FromBytes + IntoBytes>(
    address: u64,
    f: impl FnOnce(&mut T) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    if address == 0 {
        return Err(kvm(libc::EFAULT));
    }
    let at = address as *mut T;
    // SAFETY: SevIoctl's contract: a non-zero `data` is the address of a live struct of the command's
    // layout; nothing about its alignment is asked.
    let mut value = unsafe { at.read_unaligned() };
    let result = f(&mut value);
    // SAFETY: as above, and the struct is writable.
    unsafe { at.write_unaligned(value) };
    result
}

/// A secrets page (coco.md 2.8): version 3, fresh VM platform communication keys.
fn secrets_page() -> std::io::Result<[u8; PAGE_SIZE as usize]> {
    let mut page = [0u8; PAGE_SIZE as usize];
    page[0] = 3;
    fill_random(&mut page[0x20..0xa0])?;
    Ok(page)
}

/// What the firmware checks of a CPUID page, as far as it is known (coco.md 2.7): the count, the
/// reserved fields, and bits that the hypervisor would have to emulate.
fn cpuid_page_is_good(page: &[u8; PAGE_SIZE as usize]) -> bool {
    let u32_at = |at: usize| u32::from_le_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]);
    let count = u32_at(0) as usize;
    if count > 64 || page[4..16] != [0; 12] {
        return false;
    }
    (0..count).map(|i| 16 + 48 * i).all(|at| {
        let (leaf, subleaf) = (u32_at(at), u32_at(at + 4));
        let (ebx, ecx, edx) = (u32_at(at + 28), u32_at(at + 32), u32_at(at + 36));
        let refused = match (leaf, subleaf) {
            (1, _) => ecx & 1 << 24,
            (7, 0) => ebx & 1 << 1 | edx & 0xfc00_0000,
            (0x8000_0008, _) => ebx & 1 << 25,
            _ => 0,
        };
        refused == 0 && page[at + 40..at + 48] == [0; 8]
    })
}

fn fill_random(mut buf: &mut [u8]) -> std::io::Result<()> {
    while !buf.is_empty() {
        let n = rustix::rand::getrandom(&mut *buf, rustix::rand::GetRandomFlags::empty())?;
        buf = &mut buf[n..];
    }
    Ok(())
}
