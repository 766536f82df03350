//! The TDX module and KVM's half of its commands, in software (arch/x86/kvm/vmx/tdx.c; coco.md 3.1-3.3).

use std::collections::{BTreeMap, BTreeSet};
use std::mem::size_of;
use std::sync::{Mutex, MutexGuard};

use zerocopy::FromZeros;

use super::cpuid;
use super::init::{self, Refusal, TdParams};
use super::mrtd::Mrtd;
use super::platform::TdxPlatform;
use super::report::{TDREPORT_SIZE, TdReport};
use crate::memory::{GuestRam, PAGE_SIZE, SharedMemory};
use crate::sim::user::{read, write};
use crate::tdx::TdxIoctl;
use crate::tdx::abi::{
    CpuidEntry, CpuidHeader, MAX_CPUID_ENTRIES, MEASURE_MEMORY_REGION, TdxCapabilities, TdxCmd, TdxCommandId,
    TdxInitMemRegion, TdxInitVm,
};

/// TDX_OPERAND_BUSY of a SEAMCALL's completion status, on the TD's root (TDX_OPERAND_ID_TDR).
const TDR_BUSY: u64 = 0x8000_0200_0000_0080;

/// CPUID.1 ECX: the guest has an x2APIC.
const X2APIC: u32 = 1 << 21;

/// Disturbances in a row before a command gets its way.
const GUSTS: u32 = 3;

/// KVM refuses without asking the module.
fn kvm(errno: i32) -> Refusal {
    (errno, 0)
}

/// A simulated TDX module with one TD.
///
/// It sees what KVM sees: beside the launch commands ([`TdxIoctl`]) it is told of the interrupt
/// controller, of vCPUs and of their CPUID, because the commands' rules depend on them.
pub struct SimTdx {
    ram: GuestRam,
    memory: SharedMemory,
    platform: TdxPlatform,
    td: Mutex<Td>,
}

/// The TD as KVM and the module keep it.
pub(super) struct Td {
    weather: crate::sim::Weather,
    split_irqchip: bool,
    params: Option<TdParams>,
    finalized: bool,
    pub(super) vcpus: BTreeMap<u32, Vcpu>,
    added: BTreeSet<u64>,
    mrtd: Mrtd,
    rtmrs: [[u8; 48]; 4],
}

#[derive(Default)]
pub(super) struct Vcpu {
    x2apic: bool,
    /// RCX and R8 at the start, once the vCPU is initialised.
    rcx: Option<u64>,
}

impl SimTdx {
    /// A module for a TD whose pages go to `ram` (privacy as `memory` has it).
    pub fn new(ram: GuestRam, memory: SharedMemory, platform: TdxPlatform) -> Self {
        let td = Td {
            weather: platform.weather.clone(),
            split_irqchip: false,
            params: None,
            finalized: false,
            vcpus: BTreeMap::new(),
            added: BTreeSet::new(),
            mrtd: Mrtd::default(),
            rtmrs: [[0; 48]; 4],
        };
        SimTdx { ram, memory, platform, td: Mutex::new(td) }
    }

    /// KVM_CAP_SPLIT_IRQCHIP was enabled.
    pub fn split_irqchip(&self) {
        self.td().split_irqchip = true;
    }

    /// KVM_CREATE_VCPU. On refusal the errno: EIO before INIT_VM, EINVAL without split irqchip, EEXIST.
    pub fn create_vcpu(&self, index: u32) -> Result<(), i32> {
        let mut td = self.td();
        if td.params.is_none() || td.finalized {
            return Err(libc::EIO);
        }
        if !td.split_irqchip {
            return Err(libc::EINVAL);
        }
        if td.vcpus.contains_key(&index) {
            return Err(libc::EEXIST);
        }
        td.vcpus.insert(index, Vcpu::default());
        Ok(())
    }

    /// KVM_SET_CPUID2 on a vCPU. Only CPUID.1 ECX is looked at: INIT_VCPU wants an x2APIC.
    pub fn set_cpuid2(&self, index: u32, entries: &[kvm_bindings::kvm_cpuid_entry2]) -> Result<(), i32> {
        let mut td = self.td();
        let vcpu = td.vcpus.get_mut(&index).ok_or(libc::EBADF)?;
        vcpu.x2apic = entries.iter().any(|e| e.function == 1 && e.ecx & X2APIC != 0);
        Ok(())
    }

    /// KVM_RUN's first question: the value that RCX and R8 hold at the vCPU's first instruction. EINVAL
    /// before FINALIZE_VM, or on a vCPU that was not initialised.
    pub fn enter(&self, index: u32) -> Result<u64, i32> {
        let td = self.td();
        let vcpu = td.vcpus.get(&index).ok_or(libc::EBADF)?;
        vcpu.rcx.filter(|_| td.finalized).ok_or(libc::EINVAL)
    }

    /// Whether FINALIZE_VM was done.
    pub fn finalized(&self) -> bool {
        self.td().finalized
    }

    /// MRTD of what has arrived so far.
    pub fn mrtd(&self) -> [u8; 48] {
        self.td().mrtd.value()
    }

    /// TDG.MR.REPORT: a TDREPORT over `report_data` for a running TD; none before FINALIZE_VM.
    pub fn tdreport(&self, report_data: &[u8; 64]) -> Option<[u8; TDREPORT_SIZE]> {
        let td = self.td();
        let params = td.params.as_ref().filter(|_| td.finalized)?;
        let report = TdReport {
            report_data: *report_data,
            attributes: params.attributes,
            xfam: params.xfam,
            mrtd: td.mrtd.value(),
            mrconfigid: params.mrconfigid,
            mrowner: params.mrowner,
            mrownerconfig: params.mrownerconfig,
            rtmrs: td.rtmrs,
        };
        Some(report.bytes())
    }

    /// TDG.MR.RTMR.EXTEND by a running TD; whether it was done. There are four registers.
    pub fn extend_rtmr(&self, index: usize, digest: &[u8; 48]) -> bool {
        use sha2::{Digest, Sha384};
        let mut td = self.td();
        if !td.finalized {
            return false;
        }
        let Some(rtmr) = td.rtmrs.get_mut(index) else { return false };
        *rtmr = Sha384::new().chain_update(*rtmr).chain_update(digest).finalize().into();
        true
    }

    pub(super) fn td(&self) -> MutexGuard<'_, Td> {
        self.td.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn capabilities(&self, address: u64) -> Result<(), Refusal> {
        let head: TdxCapabilities = read(address).map_err(kvm)?;
        let entries = &self.platform.cpuid;
        // KVM does not say how many there are.
        if (head.cpuid.nent as usize) < entries.len() {
            return Err(kvm(libc::E2BIG));
        }
        let head = TdxCapabilities {
            supported_attrs: self.platform.attributes,
            supported_xfam: self.platform.xfam,
            user_tdvmcallinfo_1_r11: self.platform.user_tdvmcallinfo_1_r11,
            cpuid: CpuidHeader { nent: entries.len() as u32, padding: 0 },
            ..TdxCapabilities::new_zeroed()
        };
        write(address, &head);
        for (at, entry) in tail::<TdxCapabilities>(address).zip(entries) {
            write(at, entry);
        }
        Ok(())
    }

    fn init_vm(&self, flags: u32, address: u64) -> Result<(), Refusal> {
        let mut td = self.td();
        if td.params.is_some() || flags != 0 {
            return Err(kvm(libc::EINVAL));
        }
        let init: TdxInitVm = read(address).map_err(kvm)?;
        if init.cpuid.nent > MAX_CPUID_ENTRIES {
            return Err(kvm(libc::E2BIG));
        }
        let entries: Result<Vec<CpuidEntry>, i32> =
            tail::<TdxInitVm>(address).take(init.cpuid.nent as usize).map(read).collect();
        let entries = entries.map_err(kvm)?;
        if init.reserved != [0; 12] || init.cpuid.padding != 0 {
            return Err(kvm(libc::EINVAL));
        }
        if !td.vcpus.is_empty() {
            return Err(kvm(libc::EBUSY));
        }
        // KVM asks the module for random keys before the module sees the parameters.
        let judged = init::judge(&self.platform, &init, &entries);
        if !matches!(judged, Err((_, 0))) && td.weather.strikes(GUSTS) {
            return Err(kvm(libc::EAGAIN));
        }
        td.params = Some(judged?);
        Ok(())
    }

    fn finalize(&self, flags: u32) -> Result<(), Refusal> {
        let mut td = self.td();
        if td.params.is_none() || flags != 0 {
            return Err(kvm(libc::EINVAL));
        }
        if td.weather.strikes(GUSTS) {
            return Err((libc::EBUSY, TDR_BUSY));
        }
        td.finalized = true;
        Ok(())
    }

    fn init_vcpu(&self, index: u32, flags: u32, rcx: u64) -> Result<(), i32> {
        let mut td = self.td();
        let vcpu = td.vcpus.get_mut(&index).ok_or(libc::EBADF)?;
        if flags != 0 || vcpu.rcx.is_some() || !vcpu.x2apic {
            return Err(libc::EINVAL);
        }
        vcpu.rcx = Some(rcx);
        Ok(())
    }

    fn init_mem_region(&self, index: u32, flags: u32, address: u64) -> Result<(), i32> {
        let mut td = self.td();
        let initialised = td.vcpus.get(&index).ok_or(libc::EBADF)?.rcx.is_some();
        let shared_bit = td.params.as_ref().map_or(0, |p| p.shared_bit);
        if !initialised || flags & !MEASURE_MEMORY_REGION != 0 {
            return Err(libc::EINVAL);
        }
        let mut region: TdxInitMemRegion = read(address)?;
        let aligned = region.source_addr.is_multiple_of(PAGE_SIZE) && region.gpa.is_multiple_of(PAGE_SIZE);
        let last = region.nr_pages.checked_mul(PAGE_SIZE).and_then(|n| region.gpa.checked_add(n));
        let Some(end) = last.filter(|end| aligned && *end > region.gpa) else { return Err(libc::EINVAL) };
        if (region.gpa | (end - 1)) & shared_bit != 0 {
            return Err(libc::EINVAL);
        }
        let mut result = Ok(());
        while result.is_ok() && region.nr_pages != 0 {
            if td.weather.strikes(GUSTS) {
                result = Err(td.weather.one_of([libc::EINTR, libc::EAGAIN, libc::EBUSY]));
                break;
            }
            result = self.add_page(&mut td, region.gpa, region.source_addr, flags);
            if result.is_ok() {
                region.source_addr += PAGE_SIZE;
                region.gpa += PAGE_SIZE;
                region.nr_pages -= 1;
            }
        }
        write(address, &region);
        result
    }

    fn add_page(&self, td: &mut Td, gpa: u64, source: u64, flags: u32) -> Result<(), i32> {
        if source == 0 {
            return Err(libc::EOPNOTSUPP);
        }
        if !self.ram.contains(gpa, PAGE_SIZE) || !self.memory.is_private(gpa) {
            return Err(libc::EINVAL);
        }
        if td.added.contains(&gpa) {
            return Err(libc::EIO);
        }
        let page: [u8; PAGE_SIZE as usize] = read(source)?;
        self.ram.load(gpa, &page).map_err(|_| libc::EINVAL)?;
        td.mrtd.add(gpa, &page, flags & MEASURE_MEMORY_REGION != 0);
        td.added.insert(gpa);
        Ok(())
    }

    fn get_cpuid(&self, index: u32, flags: u32, address: u64) -> Result<(), i32> {
        let td = self.td();
        let Some(params) = td.params.as_ref().filter(|_| flags == 0) else { return Err(libc::EINVAL) };
        if !td.vcpus.contains_key(&index) {
            return Err(libc::EBADF);
        }
        let header: CpuidHeader = read(address)?;
        let entries = cpuid::of_td(&params.cpuid);
        let nent = entries.len() as u32;
        write(address, &CpuidHeader { nent, padding: header.padding });
        if header.nent < nent {
            return Err(libc::E2BIG);
        }
        for (at, entry) in tail::<CpuidHeader>(address).zip(&entries) {
            write(at, entry);
        }
        Ok(())
    }
}

impl TdxIoctl for SimTdx {
    fn vm_op(&self, cmd: &mut TdxCmd) -> Result<(), i32> {
        if cmd.hw_error != 0 || self.td().finalized {
            return Err(libc::EINVAL);
        }
        let result = match TdxCommandId(cmd.id) {
            TdxCommandId::CAPABILITIES if cmd.flags == 0 => self.capabilities(cmd.data),
            TdxCommandId::INIT_VM => self.init_vm(cmd.flags, cmd.data),
            TdxCommandId::FINALIZE_VM => self.finalize(cmd.flags),
            _ => Err(kvm(libc::EINVAL)),
        };
        result.map_err(|(errno, status)| {
            cmd.hw_error = status;
            errno
        })
    }

    fn vcpu_op(&self, vcpu: u32, cmd: &mut TdxCmd) -> Result<(), i32> {
        {
            let td = self.td();
            if td.params.is_none() || td.finalized || cmd.hw_error != 0 {
                return Err(libc::EINVAL);
            }
        }
        match TdxCommandId(cmd.id) {
            TdxCommandId::INIT_VCPU => self.init_vcpu(vcpu, cmd.flags, cmd.data),
            TdxCommandId::INIT_MEM_REGION => self.init_mem_region(vcpu, cmd.flags, cmd.data),
            TdxCommandId::GET_CPUID => self.get_cpuid(vcpu, cmd.flags, cmd.data),
            _ => Err(libc::EINVAL),
        }
    }
}

impl std::fmt::Debug for SimTdx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimTdx").field("finalized", &self.finalized()).finish_non_exhaustive()
    }
}

/// Addresses of the CPUID entries behind a `T` at `address`.
fn tail<T>(address: u64) -> impl Iterator<Item = u64> {
    (address + size_of::<T>() as u64..).step_by(size_of::<CpuidEntry>())
}
