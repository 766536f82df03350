//! The production launch code over the simulator: prediction and launch agree, and what kernel and
//! firmware refuse is refused.

use std::sync::{Arc, Mutex};

use cloister_firmware::measure::measure_snp;
use cloister_firmware::plan::{
    CpuState, GuestLayout, Identity, InitialPrivacy, LaunchPlan, PageKind, PageRun,
};
use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment, kvm_sregs};
use zerocopy::IntoBytes;

use super::{Mailbox, REPORT_SIZE, SimPsp, VcpuRegisters};
use crate::memory::{Converter, GuestRam, RamRange, SharedMemory, Target};
use crate::snp::abi::{CommandId, FirmwareCode, LaunchUpdate, PageType, SevCmd};
use crate::snp::{LaunchError, SevIoctl, SnpLaunch};

/// vCPUs in the reset state, as KVM reports it after the board has set it.
pub(super) struct Reset(pub(super) usize);

impl VcpuRegisters for Reset {
    fn registers(&self) -> std::io::Result<Vec<(kvm_regs, kvm_sregs)>> {
        let data = kvm_segment { limit: 0xffff, type_: 3, present: 1, s: 1, ..Default::default() };
        let code = kvm_segment { selector: 0xf000, base: 0xffff_0000, limit: 0xffff, type_: 0xb, ..data };
        let system = |type_| kvm_segment { limit: 0xffff, type_, present: 1, ..Default::default() };
        let table = kvm_dtable { limit: 0xffff, ..Default::default() };
        let sregs = kvm_sregs {
            cs: code,
            ds: data,
            es: data,
            fs: data,
            gs: data,
            ss: data,
            ldt: system(2),
            tr: system(0xb),
            gdt: table,
            idt: table,
            cr0: 0x10,
            ..Default::default()
        };
        let regs = kvm_regs { rip: 0xfff0, rflags: 2, rdx: 0x80_0f12, ..Default::default() };
        Ok(vec![(regs, sregs); self.0])
    }
}

struct Bench {
    psp: Arc<SimPsp>,
    converter: Arc<Converter>,
    ram: GuestRam,
    plan: LaunchPlan,
}

const SIZE: u64 = 4 << 20;

fn bench(vcpus: usize) -> Bench {
    let ram = GuestRam::new(&[RamRange { start: 0, size: SIZE }]).unwrap();
    let memory = SharedMemory::new(ram.clone());
    let converter = Arc::new(Converter::plain(memory.clone()));
    converter.convert(0, SIZE / 4096, Target::Private).unwrap();
    let psp = Arc::new(SimPsp::new(ram.clone(), memory, Arc::new(Reset(vcpus))).unwrap());
    let plan = LaunchPlan {
        pages: vec![
            PageRun::bytes(0x10_0000, PageKind::Measured, "kernel", vec![0xab; 300 * 4096 + 17]),
            PageRun::empty(0x1000, 3, PageKind::Zero, "stack"),
            PageRun::empty(0x5000, 1, PageKind::Secrets, "secrets"),
            PageRun::empty(0x6000, 1, PageKind::Cpuid, "CPUID"),
            PageRun::bytes(0x7000, PageKind::Unmeasured, "parameters", vec![1; 10]),
            PageRun::bytes(0x9000, PageKind::Shared, "bounce", vec![2; 10]),
        ],
        vcpus: vec![CpuState::reset(0x80_0f12); vcpus],
        identity: Identity { host_data: [7; 32], ..Identity::default() },
        layout: GuestLayout::new(SIZE),
        initial: InitialPrivacy::Private,
        td_hob: None,
    };
    Bench { psp, converter, ram, plan }
}

fn launch(bench: &Bench, ioctl: &dyn SevIoctl) -> Result<(), LaunchError> {
    let launch = SnpLaunch::new(ioctl, 3);
    launch.start(&bench.plan.identity)?;
    launch.load(&bench.plan, &[0; 4096])?;
    launch.finish(&bench.plan.identity)
}

#[test]
fn what_was_predicted_is_what_was_launched() {
    for vcpus in [1, 4] {
        let b = bench(vcpus);
        launch(&b, &*b.psp).unwrap();
        assert_eq!(b.psp.digest(), measure_snp(&b.plan).unwrap().digest.0, "{vcpus} vCPUs");
        let mut page = [0; 4096];
        b.ram.peek(0x10_0000 + 300 * 4096, &mut page).unwrap();
        assert!(page[..17] == [0xab; 17] && page[17..] == [0; 4079], "pages arrive, padded with zeros");
    }
}

#[test]
fn every_byte_kind_and_place_counts() {
    let digest = |change: &dyn Fn(&mut LaunchPlan)| {
        let mut b = bench(1);
        change(&mut b.plan);
        launch(&b, &*b.psp).unwrap();
        b.psp.digest()
    };
    let same = digest(&|_| ());
    assert_eq!(same, digest(&|p| p.identity.host_data = [9; 32]), "host data is reported, not measured");
    assert_eq!(same, digest(&|p| p.pages[4] = PageRun::bytes(0x7000, PageKind::Unmeasured, "x", vec![3])));
    assert_ne!(same, digest(&|p| p.pages[0].gpa += 4096));
    assert_ne!(same, digest(&|p| p.pages.swap(1, 2)));
    assert_ne!(same, digest(&|p| p.pages[4].kind = PageKind::Measured));
    assert_ne!(same, digest(&|p| p.identity.vmsa_features = 1 << 5));
}

/// A kernel that stops after every few pages, with or without a word, as a signal makes it do.
struct Interrupted<'a> {
    psp: &'a SimPsp,
    calls: Mutex<u32>,
}

impl SevIoctl for Interrupted<'_> {
    fn encrypt_op(&self, cmd: &mut SevCmd) -> Result<(), i32> {
        let call = {
            let mut calls = self.calls.lock().unwrap();
            *calls += 1;
            *calls
        };
        if CommandId(cmd.id) != CommandId::LAUNCH_UPDATE {
            return self.psp.encrypt_op(cmd);
        }
        if call.is_multiple_of(3) {
            return Err(libc::EINTR);
        }
        let at = cmd.data as *mut LaunchUpdate;
        #[allow(unsafe_code)]
        // SAFETY: the launcher gives the address of its own live LaunchUpdate.
        let mut update = unsafe { at.read_unaligned() };
        let all = update.len;
        update.len = all.min(7 * 4096);
        let asked = update.len;
        let mut inner = SevCmd { data: update.as_mut_bytes().as_mut_ptr() as u64, ..*cmd };
        let result = self.psp.encrypt_op(&mut inner);
        cmd.error = inner.error;
        update.len = all - (asked - update.len);
        #[allow(unsafe_code)]
        // SAFETY: as above.
        unsafe {
            at.write_unaligned(update);
        }
        result
    }
}

#[test]
fn partial_progress_and_interruptions_lose_and_double_nothing() {
    let b = bench(1);
    launch(&b, &Interrupted { psp: &b.psp, calls: Mutex::new(0) }).unwrap();
    assert_eq!(b.psp.digest(), measure_snp(&b.plan).unwrap().digest.0);
}

fn refused<T: std::fmt::Debug>(result: Result<T, LaunchError>) -> (CommandId, i32, FirmwareCode) {
    match result {
        Err(LaunchError::Command { command, errno, code, .. }) => (command, errno, code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn steps_out_of_order_are_refused() {
    let b = bench(1);
    let l = SnpLaunch::new(&*b.psp, 3);
    assert_eq!(refused(l.load(&b.plan, &[0; 4096])).0, CommandId::LAUNCH_UPDATE);
    assert_eq!(refused(l.finish(&b.plan.identity)).1, libc::ENOTTY);
    launch(&b, &*b.psp).unwrap();
    assert_eq!(refused(l.start(&b.plan.identity)).1, libc::EPERM);
    let again = refused(l.load(&b.plan, &[0; 4096]));
    assert_eq!((again.1, again.2), (libc::EIO, FirmwareCode::NONE), "its pages are assigned already");
}

#[test]
fn a_page_is_added_once_and_only_while_it_is_private() {
    let mut b = bench(1);
    b.plan.pages.push(PageRun::empty(0x1000, 1, PageKind::Zero, "twice"));
    assert_eq!(refused(launch(&b, &*b.psp)), (CommandId::LAUNCH_UPDATE, libc::EIO, FirmwareCode::NONE));
    let b = bench(1);
    b.converter.convert(0x10_0000, 1, Target::Shared).unwrap();
    assert_eq!(refused(launch(&b, &*b.psp)), (CommandId::LAUNCH_UPDATE, libc::EIO, FirmwareCode::NONE));
}

#[test]
fn policy_bits_are_checked_as_the_kernel_does() {
    for policy in [0, 1 << 17 | 1 << 18, 1 << 17 | 1 << 40] {
        let mut b = bench(1);
        b.plan.identity.policy = policy;
        assert_eq!(refused(launch(&b, &*b.psp)).0, CommandId::LAUNCH_START, "{policy:#x}");
    }
}

#[test]
fn source_pages_must_be_aligned() {
    let b = bench(1);
    SnpLaunch::new(&*b.psp, 3).start(&b.plan.identity).unwrap();
    let bytes = vec![0u8; 3 * 4096];
    let uaddr = (bytes.as_ptr() as u64).next_multiple_of(4096) + 8;
    let mut update =
        LaunchUpdate { gfn_start: 1, uaddr, len: 4096, page_type: PageType::NORMAL.0, ..Default::default() };
    let data = update.as_mut_bytes().as_mut_ptr() as u64;
    let mut cmd = SevCmd { id: CommandId::LAUNCH_UPDATE.0, data, ..Default::default() };
    assert_eq!(b.psp.encrypt_op(&mut cmd), Err(libc::EINVAL));
}

#[test]
fn the_mailbox_reports_only_what_runs_and_converts_only_ram() {
    let b = bench(1);
    let mut m = Mailbox::new(Arc::clone(&b.psp), Arc::clone(&b.converter));
    assert_eq!(m.read(0), u32::from_le_bytes(*b"CSIM"));
    let report = |m: &mut Mailbox| {
        m.write(4, 1);
        (0..16).for_each(|i| m.write(8, i));
        m.write(4, 2);
        m.read(4)
    };
    assert_eq!(report(&mut m), 3, "not launched yet");
    launch(&b, &*b.psp).unwrap();
    assert_eq!(report(&mut m), 0);
    assert!(m.read(12) as usize > REPORT_SIZE);
    assert_eq!(m.read(8), 3, "a version 3 report comes first");
    m.write(4, 2);
    assert_eq!(m.read(4), 2, "report data is asked for anew each time");

    let mut convert = |gpa: u64, pages: u64, attributes: u64| {
        m.write(4, 1);
        for value in [gpa, pages, attributes] {
            m.write(8, value as u32);
            m.write(8, (value >> 32) as u32);
        }
        m.write(4, 3);
        m.read(4)
    };
    assert!(b.converter.memory().is_private(0x8000));
    assert_eq!(convert(0x8000, 1, 0), 0);
    assert!(!b.converter.memory().is_private(0x8000));
    assert_eq!(convert(0x8000, 1, 1 << 4), 0);
    assert!(b.converter.memory().is_private(0x8000));
    assert_eq!(convert(0x8001, 1, 0), 3);
    assert_eq!(convert(SIZE, 1, 1 << 4), 3);
    assert_eq!(convert(0x8000, 1, 1 << 5), 2);
}

#[test]
fn a_hostile_guest_at_the_mailbox_costs_nothing() {
    let b = bench(1);
    let mut m = Mailbox::new(Arc::clone(&b.psp), Arc::clone(&b.converter));
    for i in 0..10_000u32 {
        m.write(8, i);
        m.write(u64::from(i % 20), i);
        m.read(u64::from(i % 20));
    }
    m.write(4, 9);
    assert_eq!(m.read(4), 1);
    assert_eq!(m.read(7), u32::MAX);
}
