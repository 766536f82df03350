//! What kernel and firmware refuse is refused, command by command.

mod id_block;

use std::sync::Arc;

use kvm_bindings::{kvm_regs, kvm_sregs};
use zerocopy::IntoBytes;

use super::{SimPsp, SnpPlatform, VcpuRegisters};
use crate::memory::{Converter, GuestRam, RamRange, SharedMemory, Target};
use crate::sim::{REPORT_SIZE, ReportForm, ReportLayout, ReportVersion, Weather};
use crate::snp::SevIoctl;
use crate::snp::abi::{
    CommandId, FirmwareCode, Init, LaunchFinish, LaunchStart, LaunchUpdate, PageType, SevCmd,
};

struct OneVcpu;

impl VcpuRegisters for OneVcpu {
    fn registers(&self) -> std::io::Result<Vec<(kvm_regs, kvm_sregs)>> {
        Ok(vec![Default::default()])
    }
}

/// Two memory slots, the second one above a hole.
const LOW: RamRange = RamRange { start: 0, size: 16 * 4096 };
const HIGH: RamRange = RamRange { start: 0x100_0000, size: 16 * 4096 };
const FD: u32 = 17;
const POLICY: u64 = 0x30000;

struct Bench {
    psp: SimPsp,
    ram: GuestRam,
    converter: Converter,
}

fn on(platform: SnpPlatform) -> Bench {
    let ram = GuestRam::new(&[LOW, HIGH]).unwrap();
    let memory = SharedMemory::new(ram.clone());
    let converter = Converter::plain(memory.clone());
    for r in [LOW, HIGH] {
        converter.convert(r.start, r.size / 4096, Target::Private).unwrap();
    }
    let psp = SimPsp::on(platform, ram.clone(), memory, Arc::new(OneVcpu)).unwrap();
    Bench { psp, ram, converter }
}

fn bench() -> Bench {
    on(SnpPlatform::default())
}

/// An errno, and what `error` says then; it says this if nobody wrote to it.
type Refused = (i32, u32);
const UNTOUCHED: u32 = 0xdead;
const EINVAL: Result<(), Refused> = Err((libc::EINVAL, UNTOUCHED));
/// KVM stopped at the first page, for a reason of its own.
const EIO: Result<(), Refused> = Err((libc::EIO, 0));

fn by_firmware(code: FirmwareCode) -> Result<(), Refused> {
    Err((libc::EIO, code.0))
}

impl Bench {
    fn raw(&self, id: CommandId, sev_fd: u32, data: u64) -> Result<(), Refused> {
        let mut cmd = SevCmd { id: id.0, data, sev_fd, error: UNTOUCHED, ..SevCmd::default() };
        self.psp.encrypt_op(&mut cmd).map_err(|errno| (errno, cmd.error))
    }

    fn command(&self, id: CommandId, data: &mut [u8]) -> Result<(), Refused> {
        self.raw(id, FD, data.as_mut_ptr() as u64)
    }

    fn init2(&self, edit: impl FnOnce(&mut Init)) -> Result<(), Refused> {
        let mut init = Init::default();
        edit(&mut init);
        self.command(CommandId::INIT2, init.as_mut_bytes())
    }

    fn start(&self, edit: impl FnOnce(&mut LaunchStart)) -> Result<(), Refused> {
        let mut start = LaunchStart { policy: POLICY, ..LaunchStart::default() };
        edit(&mut start);
        self.command(CommandId::LAUNCH_START, start.as_mut_bytes())
    }

    /// LAUNCH_UPDATE with what is left of it.
    fn update(&self, update: &mut LaunchUpdate) -> Result<(), Refused> {
        self.command(CommandId::LAUNCH_UPDATE, update.as_mut_bytes())
    }

    fn finish(&self, edit: impl FnOnce(&mut LaunchFinish)) -> Result<(), Refused> {
        let mut finish = LaunchFinish::default();
        edit(&mut finish);
        self.command(CommandId::LAUNCH_FINISH, finish.as_mut_bytes())
    }

    fn started(self) -> Self {
        self.init2(|_| ()).unwrap();
        self.start(|_| ()).unwrap();
        self
    }
}

#[repr(C, align(4096))]
struct Pages([u8; 8 * 4096]);

fn pages() -> Box<Pages> {
    Box::new(Pages([0x5a; 8 * 4096]))
}

fn update(source: &Pages, kind: PageType, gfn_start: u64, pages: u64) -> LaunchUpdate {
    let uaddr = source.0.as_ptr() as u64;
    LaunchUpdate { gfn_start, uaddr, len: pages * 4096, page_type: kind.0, ..LaunchUpdate::default() }
}

#[test]
fn init2_is_the_first_command_and_comes_once() {
    let b = bench();
    assert_eq!(b.start(|_| ()), Err((libc::ENOTTY, UNTOUCHED)));
    assert_eq!(b.finish(|_| ()), Err((libc::ENOTTY, UNTOUCHED)));
    assert_eq!(b.update(&mut update(&pages(), PageType::NORMAL, 1, 1)), EINVAL);
    assert_eq!(b.init2(|i| i.flags = 1), EINVAL);
    assert_eq!(b.init2(|i| i.ghcb_version = 1), EINVAL);
    assert_eq!(b.init2(|i| i.ghcb_version = 3), EINVAL);
    assert_eq!(b.init2(|i| i.vmsa_features = 1), EINVAL, "SNP_ACTIVE is KVM's to set");
    assert_eq!(b.init2(|i| i.pad2[7] = 1), EINVAL);
    assert_eq!(b.raw(CommandId::INIT2, FD, 0), Err((libc::EFAULT, UNTOUCHED)));
    assert_eq!(b.init2(|i| (i.vmsa_features, i.ghcb_version) = (1 << 5 | 1 << 9, 2)), Ok(()));
    assert_eq!(b.init2(|_| ()), Err((libc::EPERM, UNTOUCHED)));
    assert_eq!(b.raw(CommandId(0), FD, 0), Err((libc::EPERM, UNTOUCHED)), "SEV_INIT");
    assert_eq!(b.raw(CommandId(104), FD, 0), EINVAL);

    let b = bench();
    b.psp.vcpu_created();
    assert_eq!(b.init2(|_| ()), EINVAL);
}

#[test]
fn certificates_on_request_come_before_vcpus_and_need_a_kernel_that_knows_them() {
    let enable = |b: &Bench| b.raw(CommandId::ENABLE_REQ_CERTS, FD, 0);
    let b = bench();
    assert_eq!(enable(&b), EINVAL);
    b.init2(|_| ()).unwrap();
    assert!(!b.psp.certificates_enabled());
    assert_eq!(enable(&b), Ok(()));
    assert!(b.psp.certificates_enabled());
    b.psp.vcpu_created();
    assert_eq!(enable(&b), EINVAL);
    let old = on(SnpPlatform { certificates: false, ..SnpPlatform::default() });
    old.init2(|_| ()).unwrap();
    assert_eq!(enable(&old), EINVAL);
}

#[test]
fn kvm_and_firmware_judge_the_policy() {
    let b = bench();
    b.init2(|_| ()).unwrap();
    for bad in [0, 0x10000, POLICY | 1 << 18, POLICY | 1 << 26] {
        assert_eq!(b.start(|s| s.policy = bad), EINVAL, "{bad:#x}");
    }
    assert_eq!(b.start(|s| s.flags = 1), EINVAL);
    assert_eq!(b.start(|s| s.pad1[3] = 1), EINVAL);
    let failure = by_firmware(FirmwareCode::POLICY_FAILURE);
    for bad in [2 << 8, 1 << 8 | 56, 1 << 23, 1 << 24] {
        assert_eq!(b.start(|s| s.policy = POLICY | bad), failure, "{bad:#x}");
    }
    assert_eq!(b.start(|s| s.policy = POLICY | 1 << 8 | 55), Ok(()), "a START that failed may be repeated");
    assert_eq!(b.start(|_| ()), EINVAL, "one that did not may not");

    let refused = |platform: SnpPlatform, policy: u64| {
        let b = on(platform);
        b.init2(|_| ()).unwrap();
        assert_eq!(b.start(|s| s.policy = policy), failure);
    };
    refused(SnpPlatform { info: 1, ..SnpPlatform::default() }, 0x20000); // SMT is on and not allowed
    refused(SnpPlatform { sockets: 2, ..SnpPlatform::default() }, POLICY | 1 << 20);
    refused(SnpPlatform { aes_256_xts: false, ..SnpPlatform::default() }, POLICY | 1 << 22);
    let capable = on(SnpPlatform { info: 1 | 1 << 3 | 1 << 4, ..SnpPlatform::default() });
    capable.init2(|_| ()).unwrap();
    assert_eq!(capable.start(|s| s.policy = POLICY | 1 << 20 | 1 << 22 | 1 << 23 | 1 << 24), Ok(()));
}

#[test]
fn updates_are_judged_before_any_page() {
    let b = bench().started();
    let source = pages();
    let refused = |edit: &dyn Fn(&mut LaunchUpdate)| {
        let mut u = update(&source, PageType::NORMAL, 1, 1);
        edit(&mut u);
        assert_eq!(b.update(&mut u), EINVAL);
    };
    refused(&|u| u.len = 0);
    refused(&|u| u.len = 100);
    refused(&|u| u.uaddr += 8);
    refused(&|u| u.flags = 1);
    refused(&|u| u.pad2[0] = 1);
    refused(&|u| u.page_type = 0);
    refused(&|u| u.page_type = PageType::VMSA.0);
    refused(&|u| u.page_type = 7);
    refused(&|u| u.gfn_start = 16);
    refused(&|u| u.gfn_start = u64::MAX / 4096);
    refused(&|u| u.gfn_start = u64::MAX);
    assert_eq!(b.raw(CommandId::LAUNCH_UPDATE, FD, 0), Err((libc::EFAULT, UNTOUCHED)));

    let mut no_source = update(&source, PageType::UNMEASURED, 1, 1);
    no_source.uaddr = 0;
    assert_eq!(b.update(&mut no_source), EIO);
    let mut zeros = LaunchUpdate { uaddr: 3, ..update(&source, PageType::ZERO, 1, 2) };
    assert_eq!(b.update(&mut zeros), Ok(()), "zeros have no source");
    assert_eq!((zeros.gfn_start, zeros.len, zeros.uaddr), (3, 0, 3));
}

#[test]
fn progress_is_told_before_what_stopped_it() {
    let b = bench().started();
    let source = pages();
    b.converter.convert(3 * 4096, 1, Target::Shared).unwrap();
    let mut u = update(&source, PageType::NORMAL, 1, 4);
    assert_eq!(b.update(&mut u), Ok(()));
    assert_eq!((u.gfn_start, u.len, u.uaddr), (3, 2 * 4096, source.0.as_ptr() as u64 + 2 * 4096));
    let before = (u.gfn_start, u.len, u.uaddr);
    assert_eq!(b.update(&mut u), EIO, "not private");
    assert_eq!((u.gfn_start, u.len, u.uaddr), before);
    assert_eq!(b.update(&mut update(&source, PageType::NORMAL, 2, 1)), EIO, "twice");
    let mut page = [0; 4096];
    b.ram.peek(2 * 4096, &mut page).unwrap();
    assert_eq!(page, [0x5a; 4096]);
}

#[test]
fn an_update_ends_with_its_slot() {
    let b = bench().started();
    let mut u = update(&pages(), PageType::NORMAL, 14, 4);
    assert_eq!(b.update(&mut u), Ok(()));
    assert_eq!((u.gfn_start, u.len), (16, 2 * 4096));
    assert_eq!(b.update(&mut u), EINVAL, "there is no slot");
    let mut high = update(&pages(), PageType::NORMAL, HIGH.start / 4096, 4);
    assert_eq!(b.update(&mut high), Ok(()));
    assert_eq!(high.len, 0);
}

#[test]
fn a_refused_cpuid_page_comes_back_as_the_firmware_would_take_it() {
    let b = bench().started();
    let mut source = pages();
    let page = &mut source.0[..4096];
    page.fill(0);
    page[0] = 3;
    page[8] = 1; // reserved
    for (at, leaf, subleaf) in [(16, 1u32, 0u8), (64, 7, 0), (112, 0xd, 1)] {
        page[at..at + 4].copy_from_slice(&leaf.to_le_bytes());
        page[at + 4] = subleaf;
        page[at + 24..at + 40].fill(0xff);
    }
    let given: Vec<u8> = page.to_vec();
    let mut u = update(&source, PageType::CPUID, 1, 1);
    u.uaddr = source.0.as_mut_ptr() as u64;
    assert_eq!(b.update(&mut u), by_firmware(FirmwareCode::INVALID_PARAM));
    assert_eq!(u.len, 4096);
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let differing: Vec<(usize, u32)> = (0..4096)
        .step_by(4)
        .filter(|&at| word(&given, at) != word(&source.0, at))
        .map(|at| (at, word(&source.0, at)))
        .collect();
    let expected =
        [(8, 0), (16 + 32, !(1 << 24)), (64 + 28, !(1 << 1)), (64 + 36, 0x03ff_ffff), (112 + 28, 0x240)];
    assert_eq!(differing, expected);
    assert_eq!(b.update(&mut u), Ok(()), "the page that came back is taken");
}

#[test]
fn of_an_amd_processor_the_firmware_knows_every_leaf() {
    // Leaf, EAX, and what comes back: VERW_CLEAR is the kernel's invention, AMD has no leaf 4 with subleaf 1 and
    // no leaf 0x15, and KVM's own are nobody's business.
    let rows = [
        (0x8000_0021, 0, 0x65u32, 0x45u32),
        (4, 1, 0x0400_0000, 0),
        (0x15, 0, 2, 0),
        (0x4000_0001, 0, 0x0101_7efb, 0x0101_7efb),
        (0x8000_001f, 0, 0x41b, 0x41b),
    ];
    for cpuid_policy in [false, true] {
        let b = on(SnpPlatform { cpuid_policy, ..SnpPlatform::default() }).started();
        let mut source = pages();
        let page = &mut source.0[..4096];
        page.fill(0);
        page[0] = rows.len() as u8;
        for (entry, (leaf, subleaf, eax, _)) in page[16..].chunks_exact_mut(48).zip(rows) {
            for (at, value) in [(0, leaf), (4, subleaf), (24, eax)] {
                entry[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
            }
        }
        let mut u = update(&source, PageType::CPUID, 1, 1);
        u.uaddr = source.0.as_mut_ptr() as u64;
        let first = b.update(&mut u);
        let refused = by_firmware(FirmwareCode::INVALID_PARAM);
        assert_eq!(first, if cpuid_policy { refused } else { Ok(()) });
        for (entry, (leaf, _, eax, corrected)) in source.0[16..].chunks_exact(48).zip(rows) {
            let expected = if cpuid_policy { corrected } else { eax };
            assert_eq!(entry[24..28], expected.to_le_bytes(), "leaf {leaf:#x}");
        }
    }
}

#[test]
fn a_signal_stops_an_update_and_loses_nothing() {
    let expected = {
        let b = bench().started();
        b.update(&mut update(&pages(), PageType::NORMAL, 1, 8)).unwrap();
        b.psp.digest()
    };
    let (mut partial, mut interrupted) = (0, 0);
    for seed in 0..50 {
        let b = on(SnpPlatform { weather: Weather::rough(seed), ..SnpPlatform::default() }).started();
        let source = pages();
        let mut u = update(&source, PageType::NORMAL, 1, 8);
        let mut again = false;
        while u.len != 0 {
            let before = u.len;
            again = match b.update(&mut u) {
                Ok(()) if u.len < before => {
                    partial += u32::from(u.len != 0);
                    false
                }
                refused => {
                    assert_eq!((refused, u.len, again), (EIO, before, false), "not twice in a row");
                    interrupted += 1;
                    true
                }
            };
        }
        assert_eq!(b.psp.digest(), expected);
    }
    assert!(partial > 10 && interrupted > 10, "{partial}, {interrupted}");
}

#[test]
fn after_finish_nothing_comes_in_and_finish_comes_once() {
    let b = bench().started();
    assert_eq!(b.finish(|f| f.flags = 1), EINVAL);
    assert_eq!(b.finish(|f| f.pad0[0] = 1), EINVAL);
    assert!(!b.psp.running() && b.psp.report(&[0; 64]).is_none());
    assert_eq!(b.finish(|_| ()), Ok(()), "what KVM refused by itself may be repeated");
    assert!(b.psp.running());
    let digest = b.psp.digest();
    assert_eq!(b.finish(|_| ()), EINVAL);
    let late = b.update(&mut update(&pages(), PageType::NORMAL, 1, 1));
    assert_eq!(late, by_firmware(FirmwareCode::INVALID_GUEST_STATE));
    assert_eq!(b.start(|_| ()), EINVAL);
    assert_eq!(b.psp.digest(), digest);
}

#[test]
fn the_number_of_dev_sev_is_remembered() {
    let platform = || SnpPlatform { sev_fd: Some(FD), ..SnpPlatform::default() };
    let ebadf = Err((libc::EBADF, UNTOUCHED));
    let b = on(platform());
    b.init2(|_| ()).unwrap();
    let mut start = LaunchStart { policy: POLICY, ..LaunchStart::default() };
    let data = start.as_mut_bytes().as_mut_ptr() as u64;
    assert_eq!(b.raw(CommandId::LAUNCH_START, FD + 1, data), ebadf);
    assert_eq!(b.raw(CommandId::LAUNCH_START, FD, data), Ok(()));
    let source = pages();
    let mut u = update(&source, PageType::NORMAL, 1, 1);
    let data = u.as_mut_bytes().as_mut_ptr() as u64;
    assert_eq!(b.raw(CommandId::LAUNCH_UPDATE, FD + 1, data), EIO);
    let mut finish = LaunchFinish::default();
    let data = finish.as_mut_bytes().as_mut_ptr() as u64;
    assert_eq!(b.raw(CommandId::LAUNCH_FINISH, FD + 1, data), ebadf);
    assert_eq!(b.raw(CommandId::LAUNCH_FINISH, FD, data), Ok(()));
    assert!(b.psp.report(&[0; 64]).is_some());
    b.psp.close_dev_sev();
    assert!(b.psp.report(&[0; 64]).is_none(), "the guest's requests go through that number");

    let b = on(platform()).started();
    b.psp.close_dev_sev();
    assert_eq!(b.finish(|_| ()), ebadf);
}

#[test]
fn a_guest_that_forbids_the_vcek_gets_no_report_from_it() {
    let b = bench().started();
    b.finish(|f| (f.vcek_disabled, f.host_data) = (1, [7; 32])).unwrap();
    assert!(b.psp.running() && b.psp.report(&[0; 64]).is_none());
}

#[test]
fn reports_have_the_layout_of_their_version_and_product() {
    let report = |version, layout| {
        let report = ReportForm { version, layout };
        let b = on(SnpPlatform { report, ..SnpPlatform::default() }).started();
        b.finish(|f| f.host_data = [7; 32]).unwrap();
        b.psp.report(&[3; 64]).unwrap()[..REPORT_SIZE].to_vec()
    };
    let r = report(ReportVersion::V2, ReportLayout::Genoa);
    assert_eq!((r[0], &r[0x188..0x1a0]), (2, &[0; 24][..]), "version 2 does not name the processor");
    let r = report(ReportVersion::V3, ReportLayout::Genoa);
    assert_eq!((r[0], &r[0x188..0x18b]), (3, &[0x19, 0x11, 1][..]));
    assert_eq!(r[0x180..0x188], [3, 1, 0, 0, 0, 0, 20, 200]);
    assert_eq!(r[0x1f8..0x2a0], [0; 168]);
    let r = report(ReportVersion::V5, ReportLayout::Turin);
    assert_eq!((r[0], &r[0x188..0x18b]), (5, &[0x1a, 0x02, 1][..]));
    assert_eq!(r[0x180..0x188], [2, 3, 1, 20, 0, 0, 0, 200]);
    assert_eq!((&r[0x1a0..0x1a8], &r[0x1a8..0x1e0]), (&b"CLOISTER"[..], &[0; 56][..]));
    assert_eq!((r[0x1f8], r[0x200]), (3, 3), "mitigation vectors");
    assert_eq!(r[0x050..0x090], [3; 64]);
    assert_eq!(r[0x0c0..0x0e0], [7; 32]);
    assert_eq!(r[0x1e8..0x1eb], [0, 55, 1]);
}
