//! KVM's half of a TD's launch, for tests: its rules as arch/x86/kvm/vmx/tdx.c has them, and disturbances
//! on demand. It keeps every command as it arrived.
#![allow(unsafe_code, reason = "commands carry addresses of our own memory, as they do for the kernel")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use sha2::{Digest, Sha384};
use zerocopy::FromZeros;

use super::TdxIoctl;
use super::abi::*;

/// Pages or entries done before a command fails, then why, then what the TDX module said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) command: TdxCommandId,
    pub(super) after: u64,
    pub(super) errno: i32,
    pub(super) status: u64,
}

/// The kernel, with a TDX module behind it.
pub(super) struct FakeKvm {
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) offered: TdxCapabilities,
    pub(super) configurable: Vec<CpuidEntry>,
    pub(super) seen: Vec<CpuidEntry>,
    pub(super) faults: VecDeque<Fault>,
    /// Every command, as it came in: scope (none is the VM) and struct.
    pub(super) commands: Vec<(Option<u32>, TdxCmd)>,
    pub(super) td: Option<(TdxInitVm, Vec<CpuidEntry>)>,
    pub(super) vcpus: BTreeMap<u32, u64>,
    /// Guest address, measured, first byte of every page in order of arrival.
    pub(super) pages: Vec<(u64, bool, u8)>,
    pub(super) most_pages_at_once: u64,
    pub(super) finalized: bool,
    mrtd: Sha384,
}

impl FakeKvm {
    pub(super) fn new() -> Self {
        let mask = |function, index, [eax, ebx, ecx, edx]: [u32; 4]| CpuidEntry {
            function,
            index,
            eax,
            ebx,
            ecx,
            edx,
            ..CpuidEntry::default()
        };
        let mut offered = TdxCapabilities::new_zeroed();
        offered.supported_attrs = 1 << 28;
        offered.supported_xfam = 0x602e7;
        offered.user_tdvmcallinfo_1_r11 = 2;
        let state = State {
            offered,
            configurable: vec![
                mask(1, 0, [0x0fff_3fff, 0x00ff_0000, 0x8000_0000, 0]),
                mask(7, 0, [0, 0xd02f_8000, 0x0040_0000, 0]),
                mask(0x8000_0008, 0, [0x00ff_0000, 1 << 9, 0, 0]),
            ],
            seen: vec![mask(1, 0, [1; 4]), mask(0x21, 0, [2; 4])],
            faults: VecDeque::new(),
            commands: Vec::new(),
            td: None,
            vcpus: BTreeMap::new(),
            pages: Vec::new(),
            most_pages_at_once: 0,
            finalized: false,
            mrtd: Sha384::new(),
        };
        FakeKvm { state: Mutex::new(state) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The next time that `command` comes, it does `after` pages and fails.
    pub(super) fn fail(&self, command: TdxCommandId, after: u64, errno: i32, status: u64) {
        self.state().faults.push_back(Fault { command, after, errno, status });
    }

    pub(super) fn mrtd(&self) -> [u8; 48] {
        self.state().mrtd.clone().finalize().into()
    }

    /// The commands of one kind, as they came in.
    pub(super) fn commands(&self, command: TdxCommandId) -> Vec<(Option<u32>, TdxCmd)> {
        self.state().commands.iter().filter(|(_, cmd)| cmd.id == command.0).copied().collect()
    }
}

impl TdxIoctl for FakeKvm {
    fn vm_op(&self, cmd: &mut TdxCmd) -> Result<(), i32> {
        self.state().command(None, cmd)
    }

    fn vcpu_op(&self, vcpu: u32, cmd: &mut TdxCmd) -> Result<(), i32> {
        self.state().command(Some(vcpu), cmd)
    }
}

fn refuse_if(condition: bool, errno: i32) -> Result<(), i32> {
    if condition { Err(errno) } else { Ok(()) }
}

impl State {
    fn command(&mut self, vcpu: Option<u32>, cmd: &mut TdxCmd) -> Result<(), i32> {
        self.commands.push((vcpu, *cmd));
        let command = TdxCommandId(cmd.id);
        refuse_if(cmd.hw_error != 0, libc::EINVAL)?;
        refuse_if(cmd.flags != 0 && command != TdxCommandId::INIT_MEM_REGION, libc::EINVAL)?;
        let fault = self.faults.front().copied().filter(|fault| fault.command == command);
        if let Some(fault) = fault {
            self.faults.pop_front();
            // KVM leaves the status behind: whoever uses the struct again is refused.
            cmd.hw_error = fault.status;
            if command != TdxCommandId::INIT_MEM_REGION {
                return Err(fault.errno);
            }
        }
        match (command, vcpu) {
            (TdxCommandId::CAPABILITIES, None) => self.capabilities(cmd.data),
            (TdxCommandId::INIT_VM, None) => self.init_vm(cmd.data),
            (TdxCommandId::FINALIZE_VM, None) => {
                refuse_if(self.td.is_none() || self.finalized, libc::EINVAL)?;
                self.finalized = true;
                Ok(())
            }
            (_, Some(_)) if self.td.is_none() || self.finalized => Err(libc::EINVAL),
            (TdxCommandId::INIT_VCPU, Some(vcpu)) => {
                // No memory behind it: whoever passes an address starts the vCPU with that address.
                refuse_if(self.vcpus.insert(vcpu, cmd.data).is_some(), libc::EINVAL)
            }
            (TdxCommandId::GET_CPUID, Some(_)) => self.get_cpuid(cmd.data),
            (TdxCommandId::INIT_MEM_REGION, Some(vcpu)) => self.init_mem_region(vcpu, cmd, fault),
            _ => Err(libc::EINVAL),
        }
    }

    fn capabilities(&self, address: u64) -> Result<(), i32> {
        let (head, _) = read_with_entries::<TdxCapabilities>(address, |head| head.cpuid.nent, 0);
        // The count stays as it is.
        refuse_if((head.cpuid.nent as usize) < self.configurable.len(), libc::E2BIG)?;
        let mut answer = self.offered;
        answer.cpuid.nent = self.configurable.len() as u32;
        write_with_entries(address, &answer, &self.configurable);
        Ok(())
    }

    fn init_vm(&mut self, address: u64) -> Result<(), i32> {
        refuse_if(self.td.is_some(), libc::EINVAL)?;
        refuse_if(!self.vcpus.is_empty(), libc::EBUSY)?;
        let (head, entries) = read_with_entries::<TdxInitVm>(address, |head| head.cpuid.nent, 256);
        refuse_if(head.cpuid.nent > 256, libc::E2BIG)?;
        refuse_if(head.reserved != [0; 12] || head.cpuid.padding != 0, libc::EINVAL)?;
        refuse_if(head.attributes & !self.offered.supported_attrs != 0, libc::EINVAL)?;
        refuse_if(head.xfam & !self.offered.supported_xfam != 0, libc::EINVAL)?;
        // An entry without a significant index answers for every index.
        let find = |function: u32, index: u32| {
            entries
                .iter()
                .find(|e| e.function == function && (e.flags & SIGNIFICANT_INDEX == 0 || e.index == index))
        };
        let sizes = find(0x8000_0008, 0).ok_or(libc::EINVAL)?;
        refuse_if(![48, 52].contains(&(sizes.eax >> 16 & 0xff)), libc::EINVAL)?;
        let mut copied = 0;
        for mask in &self.configurable {
            let Some(e) = find(mask.function, mask.index) else { continue };
            let tsx_or_waitpkg = mask.function == 7 && (e.ebx & 0x810 != 0 || e.ecx & 0x20 != 0);
            refuse_if(tsx_or_waitpkg, libc::EINVAL)?;
            // The TDX module's rule.
            let beyond = e.eax & !mask.eax | e.ebx & !mask.ebx | e.ecx & !mask.ecx | e.edx & !mask.edx;
            refuse_if(beyond != 0, libc::EINVAL)?;
            copied += 1;
        }
        refuse_if(copied != entries.len(), libc::EINVAL)?;
        self.td = Some((head, entries));
        Ok(())
    }

    fn get_cpuid(&self, address: u64) -> Result<(), i32> {
        let (mut head, _) = read_with_entries::<CpuidHeader>(address, |head| head.nent, 0);
        let room = head.nent as usize;
        head.nent = self.seen.len() as u32;
        // Too small: the count is told, and nothing else.
        let fits = self.seen.len() <= room;
        write_with_entries(address, &head, if fits { &self.seen } else { &[] });
        refuse_if(!fits, libc::E2BIG)
    }

    fn init_mem_region(&mut self, vcpu: u32, cmd: &TdxCmd, fault: Option<Fault>) -> Result<(), i32> {
        refuse_if(!self.vcpus.contains_key(&vcpu) || cmd.flags & !MEASURE_MEMORY_REGION != 0, libc::EINVAL)?;
        let at = cmd.data as *mut TdxInitMemRegion;
        // SAFETY: TdxIoctl's contract: the address of a live struct of this command's layout.
        let mut region = unsafe { at.read_unaligned() };
        let aligned = region.source_addr.is_multiple_of(4096) && region.gpa.is_multiple_of(4096);
        let last = region.gpa + region.nr_pages * 4096 - 1;
        let legal = region.source_addr != 0 && region.nr_pages != 0 && last >> 47 == 0;
        refuse_if(!aligned || !legal, libc::EINVAL)?;
        self.most_pages_at_once = self.most_pages_at_once.max(region.nr_pages);
        let pages = fault.map_or(region.nr_pages, |fault| fault.after.min(region.nr_pages));
        let mut result = fault.map_or(Ok(()), |fault| Err(fault.errno));
        for _ in 0..pages {
            if self.pages.iter().any(|(gpa, ..)| *gpa == region.gpa) {
                result = Err(libc::EEXIST);
                break;
            }
            self.add(region, cmd.flags & MEASURE_MEMORY_REGION != 0);
            region.source_addr += 4096;
            region.gpa += 4096;
            region.nr_pages -= 1;
        }
        // SAFETY: as above, and the struct is writable. KVM writes it back whatever the result is.
        unsafe { at.write_unaligned(region) };
        result
    }

    /// Adds one page. MRTD is computed here with code of its own: nothing is shared with the prediction.
    fn add(&mut self, region: TdxInitMemRegion, measured: bool) {
        // SAFETY: TdxIoctl's contract: `nr_pages` pages of live bytes, of which this is the first.
        let page: [u8; 4096] = unsafe { (region.source_addr as *const [u8; 4096]).read_unaligned() };
        let record = |name: &str, gpa: u64| {
            let mut record = [0u8; 128];
            record[..name.len()].copy_from_slice(name.as_bytes());
            record[16..24].copy_from_slice(&gpa.to_le_bytes());
            record
        };
        self.mrtd.update(record("MEM.PAGE.ADD", region.gpa));
        if measured {
            for (n, chunk) in page.chunks(256).enumerate() {
                self.mrtd.update(record("MR.EXTEND", region.gpa + 256 * n as u64));
                self.mrtd.update(chunk);
            }
        }
        self.pages.push((region.gpa, measured, page[0]));
    }
}

fn read_with_entries<T: Copy>(address: u64, count: fn(&T) -> u32, most: u32) -> (T, Vec<CpuidEntry>) {
    assert!(address.is_multiple_of(8), "the kernel's structs are of 64-bit words");
    // SAFETY: TdxIoctl's contract: the address of a live struct of this command's layout.
    let head = unsafe { (address as *const T).read_unaligned() };
    let tail = (address + size_of::<T>() as u64) as *const CpuidEntry;
    // SAFETY: as above: its count says how many entries are behind it.
    let entry = |n: u32| unsafe { tail.add(n as usize).read_unaligned() };
    (head, (0..count(&head).min(most)).map(entry).collect())
}

fn write_with_entries<T: Copy>(address: u64, head: &T, entries: &[CpuidEntry]) {
    // SAFETY: TdxIoctl's contract: a live, writable struct with room for as many entries as it said, which
    // the callers have compared with `entries`.
    unsafe {
        (address as *mut T).write_unaligned(*head);
        let tail = (address + size_of::<T>() as u64) as *mut CpuidEntry;
        tail.copy_from_nonoverlapping(entries.as_ptr(), entries.len());
    }
}
