//! The steps of a TD's launch, in KVM's order (Documentation/virt/kvm/x86/intel-tdx.rst; coco.md 3.2).

use cloister_firmware::plan::{LaunchPlan, PageKind, PageRun, TdIdentity};
use kvm_bindings::kvm_cpuid_entry2;
use snafu::{OptionExt, ResultExt, ensure};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::TdxIoctl;
use super::abi::{
    CpuidHeader, MEASURE_MEMORY_REGION, TdxCapabilities, TdxCmd, TdxCommandId, TdxInitMemRegion, TdxInitVm,
};
use super::buffer::WithCpuid;
use super::capabilities::Capabilities;
use super::cpuid::{SHARED_BIT, extended_state, td_cpuid, with_topology};
use super::error::*;
use super::status::SeamcallStatus;

/// A TD's launch under way. Steps are called in the order in which they stand here, all by one thread: KVM
/// locks the whole VM for each.
pub struct TdxLaunch<'a> {
    ioctl: &'a dyn TdxIoctl,
}

/// A TD that INIT_VM has made.
#[derive(Debug, Clone, PartialEq)]
pub struct Td {
    /// What the host offers.
    pub capabilities: Capabilities,
    /// ATTRIBUTES as asked for; the TDX module adds those that it always sets.
    pub attributes: u64,
    /// XFAM as asked for, likewise.
    pub xfam: u64,
}

/// KVM wants the source of INIT_MEM_REGION page aligned.
#[repr(C, align(4096))]
#[derive(Clone, FromBytes, IntoBytes, Immutable)]
struct Page([u8; PageRun::PAGE_SIZE]);

/// Pages handed to one INIT_MEM_REGION: memory stays small, however large the firmware is.
const CHUNK_PAGES: usize = 256;

/// CPUID entries that we make room for at first, and at most.
const FIRST_ROOM: u32 = 64;
const MOST_ROOM: u32 = 1024;

/// How often a command is given again without any progress. Each try of INIT_VM is ten of RDRAND's in the
/// kernel; one that needs more meets a host without entropy, not a moment of it.
const MAX_TRIES: u32 = 10_000;

/// The VM's descriptor, or that of the vCPU with this index.
#[derive(Debug, Clone, Copy)]
enum Scope {
    Vm,
    Vcpu(u32),
}

impl<'a> TdxLaunch<'a> {
    /// A launch that speaks through `ioctl`.
    pub fn new(ioctl: &'a dyn TdxIoctl) -> Self {
        TdxLaunch { ioctl }
    }

    /// CAPABILITIES. KVM does not say how many entries it has, only that there is too little room.
    pub fn capabilities(&self) -> Result<Capabilities, TdxLaunchError> {
        let mut room = FIRST_ROOM;
        loop {
            let mut answer = WithCpuid::<TdxCapabilities>::with_room(room);
            match self.once(Scope::Vm, TdxCommandId::CAPABILITIES, 0, answer.address()) {
                Ok(()) => {
                    let entries = answer.entries().context(TooManyLeavesSnafu { room })?;
                    return Ok(Capabilities::new(&answer.head(), &entries));
                }
                Err(refused) if refused.errno == libc::E2BIG => room *= 2,
                Err(refused) => return refused.at(String::new()),
            }
            ensure!(room <= MOST_ROOM, TooManyLeavesSnafu { room: MOST_ROOM });
        }
    }

    /// INIT_VM: right after the VM is made, before any vCPU. `cpuid` is what the first vCPU of a plain guest
    /// would be told; of it, the TD gets what can be configured.
    pub fn init_vm(&self, identity: &TdIdentity, cpuid: &[kvm_cpuid_entry2]) -> Result<Td, TdxLaunchError> {
        let capabilities = self.capabilities()?;
        let attributes = capabilities.check_attributes(identity.attributes).context(NotOfferedSnafu)?;
        let xfam = capabilities.check_xfam(identity.xfam, extended_state(cpuid)).context(NotOfferedSnafu)?;
        let entries = td_cpuid(&capabilities.cpuid, &with_topology(cpuid)).context(CpuidSnafu)?;
        let mut head = TdxInitVm::new_zeroed();
        head.attributes = attributes;
        head.xfam = xfam;
        head.mrconfigid = identity.mrconfigid;
        head.mrowner = identity.mrowner;
        head.mrownerconfig = identity.mrownerconfig;
        let mut request = WithCpuid::new(head, &entries);
        // EAGAIN: the processor had no entropy for the TD's key. EBUSY would be a vCPU that is there already.
        self.again(&[libc::EAGAIN, libc::EINTR], || {
            self.once(Scope::Vm, TdxCommandId::INIT_VM, 0, request.address())
        })
        .or_else(|refused| refused.at(String::new()))?;
        Ok(Td { capabilities, attributes, xfam })
    }

    /// INIT_VCPU: once for every vCPU, when its CPUID is set. It starts with `hob` (the address of the
    /// hand-off blocks) in RCX and R8: KVM takes the value itself, no address of it.
    pub fn init_vcpu(&self, index: u32, hob: u64) -> Result<(), TdxLaunchError> {
        self.again(&[libc::EBUSY, libc::EINTR], || {
            self.once(Scope::Vcpu(index), TdxCommandId::INIT_VCPU, 0, hob)
        })
        .or_else(|refused| refused.at(format!("vCPU {index}")))
    }

    /// GET_CPUID: what a vCPU that is initialised sees, where the TDX module answers it. See
    /// [`super::agreed_cpuid`].
    pub fn vcpu_cpuid(&self, index: u32) -> Result<Vec<kvm_cpuid_entry2>, TdxLaunchError> {
        let mut room = FIRST_ROOM;
        loop {
            let mut answer = WithCpuid::<CpuidHeader>::with_room(room);
            match self.once(Scope::Vcpu(index), TdxCommandId::GET_CPUID, 0, answer.address()) {
                Ok(()) => {
                    let entries = answer.entries().context(TooManyLeavesSnafu { room })?;
                    return Ok(entries.iter().map(Into::into).collect());
                }
                // Here KVM says how many there are.
                Err(refused) if refused.errno == libc::E2BIG => {
                    let wanted = answer.head().nent;
                    ensure!(wanted > room && wanted <= MOST_ROOM, TooManyLeavesSnafu { room });
                    room = wanted;
                }
                Err(refused) => return refused.at(format!("vCPU {index}")),
            }
        }
    }

    /// INIT_MEM_REGION for every page of the plan, in its order: each is added, and measured if the plan
    /// says so. Memory slots, attributes and vCPUs are there, vCPU 0 is initialised.
    pub fn load(&self, plan: &LaunchPlan) -> Result<(), TdxLaunchError> {
        let mut pages = vec![Page([0; PageRun::PAGE_SIZE]); CHUNK_PAGES];
        let buffer = pages.as_mut_bytes();
        for run in &plan.pages {
            let Some(flags) = flags(run)? else { continue };
            ensure!(run.end() <= 1 << SHARED_BIT, BeyondSnafu { label: run.label, end: run.end() });
            let mut done = 0;
            while done < run.size() {
                let n = (run.size() - done).min(buffer.len() as u64);
                let chunk = &mut buffer[..n as usize];
                run.read(done, chunk).context(ReadSnafu)?;
                self.add(run, run.gpa + done, flags, chunk)?;
                done += n;
            }
        }
        Ok(())
    }

    /// One INIT_MEM_REGION, again until all of it is done: KVM stops at signals and at pages that are busy,
    /// and leaves its progress in the struct, with which it goes on.
    fn add(&self, run: &PageRun, gpa: u64, flags: u32, bytes: &mut [u8]) -> Result<(), TdxLaunchError> {
        let mut region = TdxInitMemRegion {
            source_addr: bytes.as_mut_ptr() as u64,
            gpa,
            nr_pages: (bytes.len() / PageRun::PAGE_SIZE) as u64,
        };
        let mut idle = 0;
        while region.nr_pages != 0 {
            let before = region;
            let address = region.as_mut_bytes().as_mut_ptr() as u64;
            let result = self.once(Scope::Vcpu(0), TdxCommandId::INIT_MEM_REGION, flags, address);
            ensure!(is_progress(&before, &region), NonsenseSnafu { before, after: region });
            match result {
                Ok(()) => {}
                Err(refused) if matches!(refused.errno, libc::EINTR | libc::EAGAIN | libc::EBUSY) => {}
                Err(refused) => return refused.at(format!("{}, guest address {:#x}", run.label, region.gpa)),
            }
            if region.nr_pages < before.nr_pages {
                idle = 0;
                continue;
            }
            idle += 1;
            ensure!(idle < MAX_TRIES, StuckSnafu { label: run.label, gpa: region.gpa });
            std::thread::yield_now();
        }
        Ok(())
    }

    /// FINALIZE_VM: the measurement is closed, the vCPUs may run.
    pub fn finalize(&self) -> Result<(), TdxLaunchError> {
        self.again(&[libc::EBUSY, libc::EINTR], || self.once(Scope::Vm, TdxCommandId::FINALIZE_VM, 0, 0))
            .or_else(|refused| refused.at(String::new()))
    }

    /// Gives a command again as long as it fails with one of `passing`.
    fn again(
        &self,
        passing: &[i32],
        mut command: impl FnMut() -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let mut tries = 1;
        loop {
            match command() {
                Err(refused) if passing.contains(&refused.errno) && tries < MAX_TRIES => {
                    tries += 1;
                    std::thread::yield_now();
                }
                result => return result,
            }
        }
    }

    /// One ioctl, with a struct of its own: the kernel leaves a status in it and then refuses it.
    fn once(&self, scope: Scope, command: TdxCommandId, flags: u32, data: u64) -> Result<(), Refused> {
        let mut cmd = TdxCmd { id: command.0, flags, data, hw_error: 0 };
        let result = match scope {
            Scope::Vm => self.ioctl.vm_op(&mut cmd),
            Scope::Vcpu(index) => self.ioctl.vcpu_op(index, &mut cmd),
        };
        result.map_err(|errno| Refused { command, errno, status: SeamcallStatus(cmd.hw_error) })
    }
}

/// A command that failed, before it is known where.
struct Refused {
    command: TdxCommandId,
    errno: i32,
    status: SeamcallStatus,
}

impl Refused {
    fn at<T>(self, at: String) -> Result<T, TdxLaunchError> {
        let Refused { command, errno, status } = self;
        CommandSnafu { command, errno, status, at }.fail()
    }
}

/// Whether `after` is `before` with as many pages done as are not left.
fn is_progress(before: &TdxInitMemRegion, after: &TdxInitMemRegion) -> bool {
    let done = before.nr_pages.checked_sub(after.nr_pages);
    let bytes = done.and_then(|pages| pages.checked_mul(PageRun::PAGE_SIZE as u64));
    let moved = |start: u64| bytes.and_then(|bytes| start.checked_add(bytes));
    moved(before.gpa) == Some(after.gpa) && moved(before.source_addr) == Some(after.source_addr)
}

/// Flags of INIT_MEM_REGION for a run of pages; none for pages that are not launched.
fn flags(run: &PageRun) -> Result<Option<u32>, TdxLaunchError> {
    match run.kind {
        PageKind::Measured => Ok(Some(MEASURE_MEMORY_REGION)),
        PageKind::Unmeasured | PageKind::Zero => Ok(Some(0)),
        PageKind::Shared => Ok(None),
        PageKind::Secrets | PageKind::Cpuid => KindSnafu { label: run.label, kind: run.kind }.fail(),
    }
}
