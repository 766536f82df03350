//! What KVM and the TDX module refuse is refused, and what they measure is measured.

use kvm_bindings::kvm_cpuid_entry2;
use sha2::{Digest, Sha384};
use zerocopy::{FromZeros, IntoBytes};

use super::cpuid::ADDRESS_WIDTHS;
use super::{SimTdx, TDREPORT_SIZE, TdxPlatform, checked};
use crate::memory::{Converter, GuestRam, RamRange, SharedMemory, Target};
use crate::sim::Weather;
use crate::tdx::TdxIoctl;
use crate::tdx::abi::{
    CpuidEntry, CpuidHeader, TdxCapabilities, TdxCmd, TdxCommandId, TdxInitMemRegion, TdxInitVm,
};
use crate::tdx::buffer::WithCpuid;

const SIZE: u64 = 4 << 20;
const SEPT_VE_DISABLE: u64 = 1 << 28;
const OPERAND_INVALID: u64 = 0xc000_0100;

struct Bench {
    tdx: SimTdx,
    ram: GuestRam,
    converter: Converter,
}

fn bench(platform: TdxPlatform) -> Bench {
    let ram = GuestRam::new(&[RamRange { start: 0, size: SIZE }]).unwrap();
    let memory = SharedMemory::new(ram.clone());
    let converter = Converter::plain(memory.clone());
    converter.convert(0, SIZE / 4096, Target::Private).unwrap();
    Bench { tdx: SimTdx::new(ram.clone(), memory, platform), ram, converter }
}

#[repr(C, align(4096))]
struct Pages([u8; 4 * 4096]);

impl Bench {
    fn vm(&self, id: TdxCommandId, data: u64) -> Result<(), (i32, u64)> {
        let mut cmd = TdxCmd { id: id.0, data, ..TdxCmd::default() };
        self.tdx.vm_op(&mut cmd).map_err(|errno| (errno, cmd.hw_error))
    }

    fn vcpu(&self, index: u32, id: TdxCommandId, flags: u32, data: u64) -> Result<(), i32> {
        let mut cmd = TdxCmd { id: id.0, flags, data, ..TdxCmd::default() };
        self.tdx.vcpu_op(index, &mut cmd)
    }

    fn capabilities(&self) -> (TdxCapabilities, Vec<CpuidEntry>) {
        let mut buffer = WithCpuid::<TdxCapabilities>::with_room(64);
        self.vm(TdxCommandId::CAPABILITIES, buffer.address()).unwrap();
        (buffer.head(), buffer.entries().unwrap())
    }

    /// INIT_VM with nothing but the address width, changed by `edit`.
    fn init_vm(&self, edit: impl FnOnce(&mut TdxInitVm, &mut Vec<CpuidEntry>)) -> Result<(), (i32, u64)> {
        let mut head = TdxInitVm { attributes: SEPT_VE_DISABLE, xfam: 7, ..TdxInitVm::new_zeroed() };
        let mut entries = vec![widths(48)];
        edit(&mut head, &mut entries);
        self.vm(TdxCommandId::INIT_VM, WithCpuid::new(head, &entries).address())
    }

    /// A vCPU that is initialised with `rcx`.
    fn add_vcpu(&self, index: u32, rcx: u64) -> Result<(), i32> {
        self.tdx.split_irqchip();
        self.tdx.create_vcpu(index)?;
        self.tdx.set_cpuid2(index, &[X2APIC])?;
        self.vcpu(index, TdxCommandId::INIT_VCPU, 0, rcx)
    }

    /// A TD with one vCPU, ready for its pages.
    fn made(platform: TdxPlatform) -> Bench {
        let b = bench(platform);
        b.init_vm(|_, _| ()).unwrap();
        b.add_vcpu(0, 0x80_9000).unwrap();
        b
    }

    fn add(&self, region: &mut TdxInitMemRegion, flags: u32) -> Result<(), i32> {
        let address = region.as_mut_bytes().as_mut_ptr() as u64;
        self.vcpu(0, TdxCommandId::INIT_MEM_REGION, flags, address)
    }
}

const X2APIC: kvm_cpuid_entry2 = kvm_cpuid_entry2 {
    function: 1,
    index: 0,
    flags: 0,
    eax: 0,
    ebx: 0,
    ecx: 1 << 21,
    edx: 0,
    padding: [0; 3],
};

fn widths(bits: u32) -> CpuidEntry {
    CpuidEntry { function: ADDRESS_WIDTHS, eax: bits << 16, ..CpuidEntry::default() }
}

fn region(source: &Pages, gpa: u64, nr_pages: u64) -> TdxInitMemRegion {
    TdxInitMemRegion { source_addr: source.0.as_ptr() as u64, gpa, nr_pages }
}

const EINVAL: Result<(), (i32, u64)> = Err((libc::EINVAL, 0));

#[test]
fn capabilities_want_room_and_do_not_say_how_much() {
    let b = bench(TdxPlatform::default());
    let mut small = WithCpuid::<TdxCapabilities>::with_room(3);
    assert_eq!(b.vm(TdxCommandId::CAPABILITIES, small.address()), Err((libc::E2BIG, 0)));
    assert_eq!(small.head().cpuid, CpuidHeader { nent: 3, padding: 0 });
    let (head, entries) = b.capabilities();
    assert_eq!(head.supported_attrs, SEPT_VE_DISABLE);
    assert_eq!(entries, TdxPlatform::default().cpuid);
    assert!(entries.iter().any(|e| e.function == ADDRESS_WIDTHS && e.eax == 0xff << 16));
    let seven = entries.iter().find(|e| (e.function, e.index) == (7, 0)).unwrap();
    assert_eq!((seven.ebx & 0x810, seven.ecx & 0x20), (0, 0), "KVM offers neither TSX nor WAITPKG");
}

#[test]
fn hw_error_is_zero_on_entry_of_every_command() {
    let b = Bench::made(TdxPlatform::default());
    for id in 0..6 {
        let mut cmd = TdxCmd { id, hw_error: 1, ..TdxCmd::default() };
        assert_eq!(b.tdx.vm_op(&mut cmd), Err(libc::EINVAL));
        assert_eq!(b.tdx.vcpu_op(0, &mut cmd), Err(libc::EINVAL));
    }
}

#[test]
fn init_vm_takes_only_what_is_offered() {
    let refused = |edit: &dyn Fn(&mut TdxInitVm, &mut Vec<CpuidEntry>)| {
        let result = bench(TdxPlatform::default()).init_vm(|head, entries| edit(head, entries));
        assert_eq!(result, EINVAL);
    };
    refused(&|head, _| head.attributes |= 1); // DEBUG
    refused(&|head, _| head.xfam |= 1 << 8); // PT
    refused(&|head, _| head.reserved[11] = 1);
    refused(&|_, entries| entries.clear());
    refused(&|_, entries| entries[0] = widths(46));
    refused(&|_, entries| entries.push(CpuidEntry { function: 0x8000_0001, ..CpuidEntry::default() }));
    refused(&|_, entries| entries.push(widths(48)));
    // A leaf with subleaves, whose entry says that the subleaf does not count, is placed four times.
    refused(&|_, entries| entries.push(CpuidEntry { function: 4, ..CpuidEntry::default() }));
    let seven = CpuidEntry { function: 7, flags: 1, ..CpuidEntry::default() };
    refused(&|_, entries| entries.push(CpuidEntry { ebx: 1 << 11, ..seven })); // RTM
    refused(&|_, entries| entries.push(CpuidEntry { ecx: 1 << 5, ..seven })); // WAITPKG

    let four_levels = TdxPlatform { five_level_ept: false, ..TdxPlatform::default() };
    assert_eq!(bench(four_levels).init_vm(|_, entries| entries[0] = widths(52)), EINVAL);

    // The module refuses these, and says so.
    let by_module = |edit: &dyn Fn(&mut TdxInitVm, &mut Vec<CpuidEntry>)| {
        let b = bench(TdxPlatform::default());
        let (errno, status) = b.init_vm(|head, entries| edit(head, entries)).unwrap_err();
        assert_eq!((errno, status >> 32), (libc::EINVAL, OPERAND_INVALID));
        status as u32
    };
    assert_eq!(by_module(&|head, _| head.xfam = 7 | 1 << 5), 65, "a third of AVX-512");
    assert_eq!(by_module(&|_, entries| entries.push(CpuidEntry { edx: 1 << 5, ..seven })), 69);

    let b = bench(TdxPlatform::default());
    let (_, all) = b.capabilities();
    let whole: Vec<_> =
        all.iter().map(|e| if e.function == ADDRESS_WIDTHS { widths(52) } else { *e }).collect();
    b.init_vm(|_, entries| *entries = whole).unwrap();
    assert_eq!(b.init_vm(|_, _| ()), EINVAL, "twice");
}

#[test]
fn init_vm_counts_entries_before_it_reads_them() {
    let b = bench(TdxPlatform::default());
    let many = |n| b.init_vm(|_, entries| entries.resize(n, widths(48)));
    assert_eq!(many(257), Err((libc::E2BIG, 0)));
    assert_eq!(many(256), EINVAL);
}

#[test]
fn vcpus_come_after_init_vm_and_are_initialised_once() {
    let b = bench(TdxPlatform::default());
    b.tdx.split_irqchip();
    assert_eq!(b.tdx.create_vcpu(0), Err(libc::EIO));
    assert_eq!(b.vcpu(0, TdxCommandId::INIT_VCPU, 0, 0), Err(libc::EINVAL));

    let b = bench(TdxPlatform::default());
    b.init_vm(|_, _| ()).unwrap();
    assert_eq!(b.tdx.create_vcpu(0), Err(libc::EINVAL), "without split irqchip");
    b.tdx.split_irqchip();
    b.tdx.create_vcpu(0).unwrap();
    let init = |flags| b.vcpu(0, TdxCommandId::INIT_VCPU, flags, 0x80_9000);
    assert_eq!(init(0), Err(libc::EINVAL), "without x2APIC");
    b.tdx.set_cpuid2(0, &[X2APIC]).unwrap();
    assert_eq!(init(1), Err(libc::EINVAL));
    assert_eq!(init(0), Ok(()));
    assert_eq!(init(0), Err(libc::EINVAL), "twice");
    assert_eq!(b.vcpu(1, TdxCommandId::INIT_VCPU, 0, 0), Err(libc::EBADF));
    assert_eq!(b.tdx.enter(0), Err(libc::EINVAL), "not finalised");
    b.vm(TdxCommandId::FINALIZE_VM, 0).unwrap();
    assert_eq!(b.tdx.enter(0), Ok(0x80_9000), "the value arrives, not what it points to");
}

#[test]
fn a_vcpu_that_is_there_keeps_init_vm_out() {
    // Cannot happen with KVM's own order; another thread could make it so.
    let b = bench(TdxPlatform::default());
    b.tdx.td().vcpus.insert(0, Default::default());
    assert_eq!(b.init_vm(|_, _| ()), Err((libc::EBUSY, 0)));
}

#[test]
fn pages_are_added_once_to_private_memory_through_an_initialised_vcpu() {
    let b = Bench::made(TdxPlatform::default());
    let source = Box::new(Pages([7; 4 * 4096]));
    let refused = |edit: &dyn Fn(&mut TdxInitMemRegion), flags| {
        let mut region = region(&source, 0x1000, 1);
        edit(&mut region);
        let before = region;
        let result = b.add(&mut region, flags);
        assert_eq!(region, before, "no progress");
        result.unwrap_err()
    };
    assert_eq!(refused(&|_| (), 2), libc::EINVAL);
    assert_eq!(refused(&|r| r.source_addr += 8, 0), libc::EINVAL);
    assert_eq!(refused(&|r| r.source_addr = 0, 0), libc::EOPNOTSUPP);
    assert_eq!(refused(&|r| r.gpa += 8, 0), libc::EINVAL);
    assert_eq!(refused(&|r| r.gpa |= 1 << 47, 0), libc::EINVAL);
    assert_eq!(refused(&|r| r.nr_pages = 0, 0), libc::EINVAL);
    assert_eq!(refused(&|r| r.nr_pages = u64::MAX / 4096, 0), libc::EINVAL);
    assert_eq!(refused(&|r| r.gpa = SIZE, 0), libc::EINVAL);
    b.converter.convert(0x1000, 1, Target::Shared).unwrap();
    assert_eq!(refused(&|_| (), 0), libc::EINVAL);
    b.converter.convert(0x1000, 1, Target::Private).unwrap();

    let nothing = b.tdx.mrtd();
    let mut three = region(&source, 0x1000, 3);
    b.add(&mut three, 0).unwrap();
    assert_eq!((three.gpa, three.nr_pages), (0x4000, 0));
    assert_eq!(three.source_addr, source.0.as_ptr() as u64 + 3 * 4096);
    assert_ne!(b.tdx.mrtd(), nothing);
    let mut page = [0; 4096];
    b.ram.peek(0x3000, &mut page).unwrap();
    assert_eq!(page, [7; 4096]);

    // Progress is told with the refusal.
    let mut over = region(&source, 0, 4);
    assert_eq!(b.add(&mut over, 0), Err(libc::EIO));
    assert_eq!((over.gpa, over.nr_pages), (0x1000, 3));

    let b = bench(TdxPlatform::default());
    b.init_vm(|_, _| ()).unwrap();
    b.tdx.split_irqchip();
    b.tdx.create_vcpu(0).unwrap();
    assert_eq!(b.add(&mut region(&source, 0x1000, 1), 0), Err(libc::EINVAL), "vCPU not initialised");
}

#[test]
fn measuring_depends_on_order_place_flag_and_bytes() {
    let source = Box::new(Pages(std::array::from_fn(|i| (i / 1000) as u8)));
    let mrtd = |adds: &[(u64, u64, u32)]| {
        let b = Bench::made(TdxPlatform::default());
        for &(gpa, pages, flags) in adds {
            b.add(&mut region(&source, gpa, pages), flags).unwrap();
        }
        b.tdx.mrtd()
    };
    let whole = mrtd(&[(0x1000, 4, 1)]);
    let mut expected = Sha384::new();
    let mut record = |name: &[u8], gpa: u64, bytes: &[u8]| {
        let mut head = [0; 128];
        head[..name.len()].copy_from_slice(name);
        head[16..24].copy_from_slice(&gpa.to_le_bytes());
        expected.update(head);
        expected.update(bytes);
    };
    for page in 0..4 {
        record(b"MEM.PAGE.ADD", 0x1000 * (page + 1), &[]);
        for chunk in 0..16 {
            let at = (page * 4096 + chunk * 256) as usize;
            record(b"MR.EXTEND", 0x1000 + at as u64, &source.0[at..at + 256]);
        }
    }
    assert_eq!(whole, <[u8; 48]>::from(expected.finalize()));
    assert_ne!(whole, mrtd(&[(0x1000, 4, 0)]));
    assert_ne!(whole, mrtd(&[(0x2000, 4, 1)]));
    assert_ne!(mrtd(&[(0x1000, 1, 1), (0x5000, 1, 0)]), mrtd(&[(0x5000, 1, 0), (0x1000, 1, 1)]));
}

#[test]
fn a_td_sees_what_was_configured_and_what_is_fixed() {
    let b = bench(TdxPlatform::default());
    let leaf_one = CpuidEntry { function: 1, eax: 0xc06f2, ecx: 1 << 24, ..CpuidEntry::default() };
    b.init_vm(|_, entries| entries.push(leaf_one)).unwrap();
    b.add_vcpu(0, 0).unwrap();
    let mut small = WithCpuid::<CpuidHeader>::with_room(1);
    assert_eq!(b.vcpu(0, TdxCommandId::GET_CPUID, 0, small.address()), Err(libc::E2BIG));
    let mut buffer = WithCpuid::<CpuidHeader>::with_room(small.head().nent);
    b.vcpu(0, TdxCommandId::GET_CPUID, 0, buffer.address()).unwrap();
    let entries = buffer.entries().unwrap();
    let of = |function| entries.iter().find(|e| e.function == function).unwrap();
    assert_eq!(of(1).eax, 0xc06f2);
    assert_eq!(of(1).ecx & (1 << 24 | 1 << 31 | 1 << 21), 1 << 24 | 1 << 31 | 1 << 21);
    assert_eq!(of(ADDRESS_WIDTHS).eax >> 16 & 0xff, 48);
    assert_eq!(of(0x21).ebx.to_le_bytes(), *b"Inte");
}

#[test]
fn after_finalize_everything_is_refused() {
    let b = Bench::made(TdxPlatform::default());
    let source = Box::new(Pages([0; 4 * 4096]));
    b.vm(TdxCommandId::FINALIZE_VM, 0).unwrap();
    let mut room = WithCpuid::<TdxCapabilities>::with_room(64);
    assert_eq!(b.vm(TdxCommandId::CAPABILITIES, room.address()), EINVAL);
    assert_eq!(b.init_vm(|_, _| ()), EINVAL);
    assert_eq!(b.vm(TdxCommandId::FINALIZE_VM, 0), EINVAL);
    assert_eq!(b.add(&mut region(&source, 0x1000, 1), 0), Err(libc::EINVAL));
    assert_eq!(b.vcpu(0, TdxCommandId::GET_CPUID, 0, room.address()), Err(libc::EINVAL));
    assert_eq!(b.tdx.create_vcpu(1), Err(libc::EIO));
    assert_eq!(bench(TdxPlatform::default()).vm(TdxCommandId::FINALIZE_VM, 0), EINVAL, "before INIT_VM");
}

#[test]
fn rough_weather_loses_and_doubles_nothing() {
    let source = Box::new(Pages([9; 4 * 4096]));
    let calm = Bench::made(TdxPlatform::default());
    calm.add(&mut region(&source, 0x1000, 4), 1).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let b = bench(TdxPlatform { weather: Weather::rough(seed), ..TdxPlatform::default() });
        while let Err((errno, status)) = b.init_vm(|_, _| ()) {
            assert_eq!((errno, status), (libc::EAGAIN, 0));
            seen.insert((TdxCommandId::INIT_VM.0, errno));
        }
        b.add_vcpu(0, 0).unwrap();
        let mut region = region(&source, 0x1000, 4);
        while region.nr_pages != 0 {
            let result = b.add(&mut region, 1);
            assert_eq!(region.gpa, 0x1000 + (4 - region.nr_pages) * 4096);
            assert_eq!(result.is_ok(), region.nr_pages == 0);
            if let Err(errno) = result {
                assert!(matches!(errno, libc::EINTR | libc::EAGAIN | libc::EBUSY), "{errno}");
                seen.insert((TdxCommandId::INIT_MEM_REGION.0, errno));
            }
        }
        while let Err((errno, status)) = b.vm(TdxCommandId::FINALIZE_VM, 0) {
            assert_eq!(errno, libc::EBUSY);
            assert_ne!(status, 0, "the module's status is written back");
            seen.insert((TdxCommandId::FINALIZE_VM.0, errno));
        }
        assert_eq!(b.tdx.mrtd(), calm.tdx.mrtd());
    }
    assert_eq!(seen.len(), 5, "every disturbance was seen: {seen:?}");
}

#[test]
fn reports_are_of_running_tds_and_hold_what_was_launched() {
    let b = bench(TdxPlatform::default());
    b.init_vm(|head, _| {
        head.mrconfigid = [1; 48];
        head.mrowner = [2; 48];
        head.mrownerconfig = [3; 48];
    })
    .unwrap();
    assert_eq!(b.tdx.tdreport(&[5; 64]), None);
    assert!(!b.tdx.extend_rtmr(2, &[6; 48]));
    b.vm(TdxCommandId::FINALIZE_VM, 0).unwrap();
    assert!(b.tdx.extend_rtmr(2, &[6; 48]) && !b.tdx.extend_rtmr(4, &[6; 48]));
    let report = b.tdx.tdreport(&[5; 64]).unwrap();
    let c = checked(&report).unwrap();
    let rtmr2 = Sha384::new().chain_update([0; 48]).chain_update([6; 48]).finalize();
    assert_eq!(c.report_data, [5; 64]);
    assert_eq!(c.td.attributes, SEPT_VE_DISABLE.to_le_bytes());
    assert_eq!(c.td.xfam, 7u64.to_le_bytes());
    assert_eq!(c.td.mrtd, b.tdx.mrtd());
    assert_eq!((c.td.mrconfigid, c.td.mrowner, c.td.mrownerconfig), ([1; 48], [2; 48], [3; 48]));
    assert_eq!((c.td.rtmrs[1], c.td.rtmrs[2]), ([0; 48], rtmr2.into()));
}

#[test]
fn a_changed_report_is_not_this_platforms() {
    let b = bench(TdxPlatform::default());
    b.init_vm(|_, _| ()).unwrap();
    b.vm(TdxCommandId::FINALIZE_VM, 0).unwrap();
    let report = b.tdx.tdreport(&[5; 64]).unwrap();
    assert!(checked(&report[1..]).is_none() && checked(&[]).is_none());
    // The bytes between TEE_TCB_INFO and TDINFO belong to neither, and nothing covers them.
    for at in (0..TDREPORT_SIZE).filter(|at| !(495..512).contains(at)) {
        let mut changed = report;
        changed[at] ^= 0x10;
        assert!(checked(&changed).is_none(), "byte {at}");
    }
}
