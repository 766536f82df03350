//! What an SNP launch must keep to beside its order, over the dry kernel.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use cloister_firmware::plan::{
    CpuState, GuestLayout, Identity, InitialPrivacy, LaunchPlan, PageKind, PageRun,
};
use kvm_bindings::{CpuId, kvm_cpuid_entry2, kvm_regs};

use super::kernel::{Call, DryKernel, Errno, Kernel, LaunchKernel, On};
use super::platform::{Ground, Platform, PlatformError, VcpuStart, platform};
use super::{PlatformKind, SnpHostError};
use crate::memory::{GuestRam, RamRange};
use crate::snp::LaunchError;
use crate::snp::abi::{CommandId, FirmwareCode, LaunchUpdate, PageType};

const SIZE: u64 = 32 << 20;

fn plan() -> LaunchPlan {
    LaunchPlan {
        pages: vec![
            PageRun::bytes(0x10_0000, PageKind::Measured, "firmware", vec![0xab; 4096]),
            PageRun::empty(0x6000, 1, PageKind::Cpuid, "CPUID"),
        ],
        vcpus: vec![CpuState::reset(0x80_0f12)],
        identity: Identity::default(),
        layout: GuestLayout::new(SIZE),
        initial: InitialPrivacy::Private,
        td_hob: None,
    }
}

/// A dry kernel that writes down which numbers of /dev/sev it is given, and refuses at one command.
struct Watched {
    dry: DryKernel,
    sev_fds: Mutex<Vec<u32>>,
    /// The file that stands for /dev/sev.
    opened: Mutex<Option<u64>>,
    refuse: Option<CommandId>,
}

impl LaunchKernel for Watched {
    fn call(&self, on: On, call: &mut Call<'_>) -> Result<i32, Errno> {
        if let Call::Sev(cmd) = call {
            self.sev_fds.lock().unwrap().push(cmd.sev_fd);
            if self.refuse == Some(CommandId(cmd.id)) {
                cmd.error = FirmwareCode::POLICY_FAILURE.0;
                return Err(libc::EIO);
            }
        }
        self.dry.call(on, call)
    }
    fn open_sev(&self) -> std::io::Result<OwnedFd> {
        let file = self.dry.open_sev()?;
        *self.opened.lock().unwrap() = open_on(file.as_raw_fd().unsigned_abs());
        Ok(file)
    }
}

fn watched(refuse: Option<CommandId>) -> (Arc<Watched>, Ground) {
    let ram = GuestRam::new(&[RamRange { start: 0, size: SIZE }]).unwrap();
    let dry = DryKernel::new(PlatformKind::Snp, ram.clone()).unwrap();
    let kernel = Arc::new(Watched { dry, sev_fds: Mutex::default(), opened: Mutex::default(), refuse });
    let ground = Ground {
        kernel: Kernel::new(Arc::clone(&kernel) as _),
        ram,
        guest_memfd: false,
        cpuid: CpuId::new(0).unwrap(),
        certificates: false,
    };
    (kernel, ground)
}

/// All steps; the platform as it is when the guest may run.
fn launch(ground: Ground, plan: &LaunchPlan) -> Result<Box<dyn Platform>, PlatformError> {
    launch_with(ground, plan, &[])
}

fn launch_with(
    ground: Ground,
    plan: &LaunchPlan,
    table: &[kvm_cpuid_entry2],
) -> Result<Box<dyn Platform>, PlatformError> {
    let platform = platform(PlatformKind::Snp, ground, plan)?;
    let cpuid = CpuId::new(0).unwrap();
    let start = VcpuStart { cpuid: &cpuid, msrs: None, regs: kvm_regs::default(), sregs: &|base| base };
    platform.add_vcpu(0, &start)?;
    platform.load(plan, table)?;
    platform.finish(plan)?;
    Ok(platform)
}

/// Which file the descriptor of this number is open on, if it is. (A name would not tell: tests that run
/// beside this one open files of the same name.)
fn open_on(fd: u32) -> Option<u64> {
    std::fs::metadata(format!("/proc/self/fd/{fd}")).ok().map(|m| m.ino())
}

#[test]
fn dev_sev_stays_open_at_the_number_that_kvm_remembers() {
    let (kernel, ground) = watched(None);
    let platform = launch(ground, &plan()).unwrap();
    let numbers = kernel.sev_fds.lock().unwrap().clone();
    assert_eq!(numbers.len(), 5, "INIT2, START, two UPDATEs, FINISH");
    assert!(numbers.iter().all(|n| *n == numbers[0]), "{numbers:?}");
    // The guest runs: its requests go through that number.
    let device = open_on(numbers[0]);
    assert_eq!(device, *kernel.opened.lock().unwrap());
    drop(platform);
    assert_ne!(open_on(numbers[0]), device);
}

#[test]
fn a_launch_that_fails_leaves_no_vm_behind() {
    for command in
        [CommandId::INIT2, CommandId::LAUNCH_START, CommandId::LAUNCH_UPDATE, CommandId::LAUNCH_FINISH]
    {
        let (kernel, ground) = watched(Some(command));
        let weak = Arc::downgrade(&kernel);
        drop(kernel);
        let error = launch(ground, &plan()).err().unwrap();
        assert!(weak.upgrade().is_none(), "{command:?}: something still holds the VM");
        let text = error.to_string();
        assert!(text.contains(command.name()) && text.contains("POLICY_FAILURE (0x7)"), "{text}");
        assert!(text.contains("change policy="), "{text}");
    }
}

#[test]
fn a_policy_that_the_host_does_not_have_is_refused_before_anything_is_made() {
    let (kernel, ground) = watched(None);
    let mut plan = plan();
    plan.identity.policy |= 1 << 40 | 1 << 18;
    let error = launch(ground, &plan).err().unwrap();
    let PlatformError::SnpHost { source: SnpHostError::Policy { bits, .. } } = &error else {
        panic!("{error}")
    };
    assert_eq!(*bits, 1 << 40 | 1 << 18);
    assert!(error.to_string().contains("bit 18 (migration agent allowed) and bit 40"), "{error}");
    // The least ABI version is no bit of its own.
    plan.identity.policy = 1 << 17 | 0x0137;
    launch(watched(None).1, &plan).unwrap();
    assert!(kernel.sev_fds.lock().unwrap().is_empty());
}

#[test]
fn features_that_kvm_does_not_have_are_named() {
    let mut plan = plan();
    plan.identity.vmsa_features = 1 << 3 | 1 << 5;
    let error = launch(watched(None).1, &plan).err().unwrap();
    assert!(error.to_string().contains("bit 3 (restricted injection), which"), "{error}");
}

/// Firmware that refuses the CPUID page so many times, and hands back what it would have, as KVM does it.
struct Picky {
    dry: DryKernel,
    refusals: AtomicU32,
}

impl LaunchKernel for Picky {
    #[allow(unsafe_code, reason = "the kernel's half of LAUNCH_UPDATE")]
    fn call(&self, on: On, call: &mut Call<'_>) -> Result<i32, Errno> {
        if let Call::Sev(cmd) = call
            && CommandId(cmd.id) == CommandId::LAUNCH_UPDATE
        {
            // SAFETY: the launcher gives the address of its own live LaunchUpdate.
            let update = unsafe { (cmd.data as *const LaunchUpdate).read_unaligned() };
            let less = |n: u32| n.checked_sub(1);
            if PageType(update.page_type) == PageType::CPUID
                && self.refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
            {
                // SAFETY: `uaddr` is a page of the launcher's, writable; byte 55 is the highest of the first
                // leaf's EDX.
                unsafe { *((update.uaddr + 16 + 36 + 3) as *mut u8) = 0 };
                cmd.error = FirmwareCode::INVALID_PARAM.0;
                return Err(libc::EIO);
            }
        }
        self.dry.call(on, call)
    }
    fn open_sev(&self) -> std::io::Result<OwnedFd> {
        self.dry.open_sev()
    }
}

/// A launch on such firmware, with a leaf that it corrects if `claims` says so.
fn on_picky(refusals: u32, claims: bool) -> (GuestRam, Result<Box<dyn Platform>, PlatformError>) {
    let (_, mut ground) = watched(None);
    let ram = ground.ram.clone();
    let dry = DryKernel::new(PlatformKind::Snp, ram.clone()).unwrap();
    ground.kernel = Kernel::new(Arc::new(Picky { dry, refusals: AtomicU32::new(refusals) }));
    let edx = if claims { 0x8000_0001 } else { 1 };
    let table = [kvm_cpuid_entry2 { function: 0x8000_0007, edx, ..Default::default() }];
    (ram, launch_with(ground, &plan(), &table))
}

#[test]
fn a_guest_gets_the_cpuid_page_that_the_firmware_corrected() {
    let (ram, launched) = on_picky(1, true);
    launched.unwrap();
    let mut page = [0; 4096];
    ram.peek(0x6000, &mut page).unwrap();
    assert_eq!((page[0], &page[16..20], &page[52..56]), (1, &[7, 0, 0, 0x80][..], &[1, 0, 0, 0][..]));
}

#[test]
fn a_cpuid_page_that_stays_refused_is_compared_with_what_the_firmware_would_have() {
    let error = on_picky(2, true).1.err().unwrap();
    let PlatformError::Launch { source: LaunchError::Cpuid { differences } } = &error else {
        panic!("{error}")
    };
    assert_eq!(differences.len(), 1);
    assert_eq!((differences[0].register, differences[0].expected), ("EDX", 1));
    assert!(error.to_string().contains("provided 0x80000001, expected 0x00000001 (bit 31)"), "{error}");
}

#[test]
fn a_cpuid_page_that_is_refused_without_a_correction_is_not_given_again() {
    let error = on_picky(1, false).1.err().unwrap();
    assert!(error.to_string().contains("it did not say"), "{error}");
}
