//! Exits from a page as the kernel leaves it to the page as the kernel finds it, without a vCPU.

use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use std::{fs, io};

use cloister_coco::launch::PlatformKind;
use cloister_coco::memory::{GuestRam, RamRange, SharedMemory, Target};
use cloister_coco::sim::{QuoteForm, QuoteService, SimTdx, TdxPlatform};
use cloister_coco::snp::certs::{CertServer, CertStore};
use cloister_coco::tdx::abi::{CpuidEntry, TdxCmd, TdxCommandId, TdxInitVm};
use cloister_coco::tdx::buffer::WithCpuid;
use cloister_coco::tdx::quote::TdServices;
use cloister_coco::tdx::vmcall::{InjectMsi, Msi, VmCallInfo};
use cloister_coco::tdx::{QuoteServiceAddress, TdxIoctl};
use cloister_devices::irq::MsiMessage;
use cloister_devices::platform::MsiSink;
use proptest::prelude::*;
use zerocopy::FromZeros;

use super::*;
use crate::kvm::FakePage;

const RAM: u64 = 0x10_0000;
const KVMS_OWN: u64 = 0x8000_0000_0000_0003;

struct NoInterrupts;

impl MsiSink for NoInterrupts {
    fn send(&self, _message: MsiMessage) {}
    fn routes_changed(&self, _pin: u8, _message: Option<MsiMessage>, _level: bool) {}
}

pub(super) struct Interrupts(Sender<Msi>);

impl InjectMsi for Interrupts {
    fn inject(&self, message: Msi) -> io::Result<()> {
        self.0.send(message).map_err(io::Error::other)
    }
}

fn exits(memory: &SharedMemory, coco: CocoExits) -> (Exits, Receiver<Event>) {
    let (sender, events) = channel();
    let exits = Exits {
        pio: Bus::new(),
        mmio: Bus::new(),
        ioapic: Ioapic::new(Box::new(NoInterrupts)),
        converter: Arc::new(Converter::plain(memory.clone())),
        coco,
        events: Events::new(sender),
        progress: Arc::default(),
    };
    (exits, events)
}

/// A TD whose quotes come from `service`.
fn td(
    memory: &SharedMemory,
    service: Option<QuoteServiceAddress>,
) -> (Exits, Receiver<Event>, Receiver<Msi>) {
    let (sender, interrupts) = channel();
    let info = VmCallInfo { user_r11: 2, kernel_r11: 8, ..VmCallInfo::default() };
    let interrupt = Box::new(Interrupts(sender));
    let services = TdServices::new(memory.clone(), info, service, interrupt, Box::new(|_| ())).unwrap();
    let (exits, events) = exits(memory, CocoExits::with(PlatformKind::Tdx, None, Some(services)));
    (exits, events, interrupts)
}

fn crash(events: &Receiver<Event>) -> String {
    match events.try_recv().unwrap() {
        Event::Crash(what) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_td_learns_which_calls_there_are() {
    let (exits, _, _) = td(&SharedMemory::for_test(RAM), None);
    let mut page = FakePage::new(40).with(40, &[0x10000, KVMS_OWN, 1]);
    assert!(matches!(exits.handle_page(page.page(), 0, 0, &mut Row::default()), Next::Run));
    assert_eq!([48, 64, 72, 80, 88].map(|at| page.u64(at)), [0, 8 | 2, 0, 0, 0]);
}

#[test]
fn a_td_without_a_quote_service_is_told_in_its_buffer() {
    let memory = SharedMemory::for_test(RAM);
    memory.write_obj(0x4000, &[1u64, 0, 1024]).unwrap();
    let (exits, _, _) = td(&memory, None);
    let mut page = FakePage::new(40).with(40, &[0x10002, KVMS_OWN, 0x4000, 0x2000]);
    assert!(matches!(exits.handle_page(page.page(), 0, 0, &mut Row::default()), Next::Run));
    assert_eq!(page.u64(48), 0);
    assert_eq!(memory.read_obj::<u64>(0x4008).unwrap(), 1 << 63 | 1);
    // A private buffer is none.
    exits.converter.convert(0x5000, 1, Target::Private).unwrap();
    assert!(matches!(exits.handle_page(page.page(), 0, 0, &mut Row::default()), Next::Run));
    assert_eq!(page.u64(48), 1 << 63);
}

#[test]
fn calls_that_nobody_knows_are_kvms() {
    let memory = SharedMemory::for_test(RAM);
    let (tdx, _, _) = td(&memory, None);
    let (plain, _) = exits(&memory, CocoExits::default());
    for (exits, nr) in [(&tdx, 0x10005), (&plain, 0x10000), (&plain, 0x10002), (&plain, 0x10004)] {
        let mut page = FakePage::new(40).with(40, &[nr, KVMS_OWN, 1]);
        assert!(matches!(exits.handle_page(page.page(), 0, 0, &mut Row::default()), Next::Run));
        assert_eq!(page.u64(48), KVMS_OWN);
    }
}

#[test]
fn certificates_are_served_under_locks_that_last() {
    let dir = tempfile::tempdir().unwrap();
    let der = include_bytes!("../../../../attestation/sim-pki/vcek.der");
    fs::write(dir.path().join("vcek.der"), der).unwrap();
    let memory = SharedMemory::for_test(RAM);
    let server = CertServer::new(CertStore::open(dir.path()).unwrap());
    let (exits, _) = exits(&memory, CocoExits::with(PlatformKind::Snp, Some(server), None));
    // Too small first, as guests do it.
    let mut page = FakePage::new(43).with(32, &[0x4000, 0, 99]);
    assert!(matches!(exits.handle_page(page.page(), 0, 0, &mut Row::default()), Next::Run));
    assert_eq!((page.u64(40), page.u64(48)), (1, 28));
    let mut page = FakePage::new(43).with(32, &[0x4000, 1, 99]);
    let Next::Finish(locks) = exits.handle_page(page.page(), 0, 0, &mut Row::default()) else {
        panic!("no locks")
    };
    assert!(!locks.is_empty());
    assert_eq!((page.u64(40), page.u64(48)), (1, 0));
    let mut first = vec![0; der.len()];
    memory.read(0x4000 + 48, &mut first).unwrap();
    assert_eq!(first, der);
    // Private: EIO, and KVM takes that.
    exits.converter.convert(0x4000, 1, Target::Private).unwrap();
    let mut page = FakePage::new(43).with(32, &[0x4000, 1, 99]);
    assert!(matches!(exits.handle_page(page.page(), 0, 0, &mut Row::default()), Next::Run));
    assert_eq!((page.u64(40), page.u64(48)), (1, 5));
}

#[test]
fn without_a_store_the_report_goes_without_certificates() {
    let memory = SharedMemory::for_test(RAM);
    let (exits, _) = exits(&memory, CocoExits::default());
    let mut page = FakePage::new(43).with(32, &[0x4000, 1, 99]);
    assert!(matches!(exits.handle_page(page.page(), 0, 0, &mut Row::default()), Next::Run));
    assert_eq!((page.u64(40), page.u64(48)), (1, 0));
}

#[test]
fn a_page_used_as_what_it_is_not_ends_the_guest_and_is_not_converted() {
    let memory = SharedMemory::for_test(RAM);
    let (exits, events) = exits(&memory, CocoExits::default());
    exits.converter.convert(0x5000, 1, Target::Private).unwrap();
    let fault = |flags, gpa| {
        let mut page = FakePage::new(39).with(32, &[flags, gpa, 0x1000]);
        assert!(matches!(exits.handle_page(page.page(), 0, libc::EFAULT, &mut Row::default()), Next::Stop));
    };
    fault(0, 0x5000);
    assert!(crash(&events).contains("0x5000 as shared memory, but they are private"));
    fault(8, 0x6000);
    assert!(crash(&events).contains("0x6000 as private memory, but they are shared"));
    fault(8, RAM);
    assert!(crash(&events).contains("where it has no RAM"));
    assert!(memory.is_private(0x5000) && !memory.is_private(0x6000));
    let mut page = FakePage::new(39).with(32, &[8, 0x5000, 0x1000]);
    assert!(matches!(exits.handle_page(page.page(), 0, libc::EHWPOISON, &mut Row::default()), Next::Stop));
    assert!(matches!(events.try_recv(), Ok(Event::Fault(what)) if what.contains("EHWPOISON")));
}

/// KVM takes an attribute for the guest's wish there, so that a conversion by another vCPU looks like one.
#[test]
fn a_software_protected_guest_whose_page_was_just_converted_goes_on() {
    let memory = SharedMemory::for_test(RAM);
    let (exits, events) = exits(&memory, CocoExits::with(PlatformKind::Protected, None, None));
    let mut row = Row::default();
    let mut fault = |gpa, errno| {
        let mut page = FakePage::new(39).with(32, &[8, gpa, 0x1000]);
        exits.handle_page(page.page(), 0, errno, &mut row)
    };
    assert!(matches!(fault(0x5000, libc::EFAULT), Next::Run));
    assert!(events.try_recv().is_err());
    assert!((0..1000).any(|_| matches!(fault(0x5000, libc::EFAULT), Next::Stop)), "for ever");
    assert!(matches!(fault(0x6000, libc::EHWPOISON), Next::Stop));
    assert!(matches!(fault(RAM, libc::EFAULT), Next::Stop));
}

/// A page that is raced for again and again over a guest's life is no reason to end it.
#[test]
fn what_a_vcpu_does_in_between_ends_a_row_of_faults() {
    let memory = SharedMemory::for_test(RAM);
    let (exits, events) = exits(&memory, CocoExits::with(PlatformKind::Protected, None, None));
    let mut row = Row::default();
    for _ in 0..1000 {
        let mut fault = FakePage::new(39).with(32, &[8, 0x5000, 0x1000]);
        assert!(matches!(exits.handle_page(fault.page(), 0, libc::EFAULT, &mut row), Next::Run));
        let mut call = FakePage::new(40).with(40, &[0x10000, KVMS_OWN, 1]);
        assert!(matches!(exits.handle_page(call.page(), 0, 0, &mut row), Next::Run));
    }
    assert!(events.try_recv().is_err());
}

/// Such a guest says itself which side it means. One that means the other is not converted unasked.
#[test]
fn a_confidential_guest_goes_on_where_the_page_has_become_what_it_meant() {
    for kind in [PlatformKind::Snp, PlatformKind::Tdx] {
        let memory = SharedMemory::for_test(RAM);
        let (exits, events) = exits(&memory, CocoExits::with(kind, None, None));
        let mut row = Row::default();
        let mut fault = |flags, gpa| {
            let mut page = FakePage::new(39).with(32, &[flags, gpa, 0x1000]);
            exits.handle_page(page.page(), 0, libc::EFAULT, &mut row)
        };
        assert!(matches!(fault(0, 0x5000), Next::Run));
        assert!((0..1000).any(|_| matches!(fault(0, 0x5000), Next::Stop)), "for ever");
        assert!(matches!(events.try_recv(), Ok(Event::Fault(what)) if what.contains("out of memory")));
        assert!(matches!(fault(8, 0x6000), Next::Stop));
        assert!(crash(&events).contains("did not ask for their conversion"));
    }
}

#[test]
fn last_words_reach_the_operator() {
    let (exits, events) = exits(&SharedMemory::for_test(RAM), CocoExits::default());
    let mut page = FakePage::new(24).with(40, &[0x100 | 1 << 12 | 6 << 16]);
    page.put(32, &[6, 0, 0, 0, 1, 0, 0, 0]);
    assert!(matches!(exits.handle_page(page.page(), 0, 0, &mut Row::default()), Next::Stop));
    assert!(crash(&events).contains("secrets page"));
    let mut page = FakePage::new(17);
    page.put(32, &[1]);
    assert!(matches!(exits.handle_page(page.page(), 0, 0, &mut Row::default()), Next::Stop));
    assert!(crash(&events).contains("suberror 1"));
    let mut page = FakePage::new(99);
    assert!(matches!(exits.handle_page(page.page(), 0, 0, &mut Row::default()), Next::Stop));
    assert!(crash(&events).contains("an exit 99"));
}

/// A report of a TD of the simulated module.
fn td_report() -> [u8; 1024] {
    let ram = GuestRam::new(&[RamRange { start: 0, size: 4096 }]).unwrap();
    let module = SimTdx::new(ram.clone(), SharedMemory::new(ram), TdxPlatform::default());
    let widths = CpuidEntry { function: 0x8000_0008, eax: 48 << 16, ..CpuidEntry::default() };
    let head = TdxInitVm { attributes: 1 << 28, xfam: 7, ..TdxInitVm::new_zeroed() };
    let mut init = WithCpuid::new(head, &[widths]);
    let data = init.address();
    module.vm_op(&mut TdxCmd { id: TdxCommandId::INIT_VM.0, data, ..TdxCmd::default() }).unwrap();
    module.vm_op(&mut TdxCmd { id: TdxCommandId::FINALIZE_VM.0, ..TdxCmd::default() }).unwrap();
    module.tdreport(&[0x42; 64]).unwrap()
}

/// All the way: the guest's buffer, the exit, the service's socket, the quote in the buffer, the interrupt.
#[test]
fn a_tds_report_becomes_a_quote() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("qgs");
    let listener = UnixListener::bind(&socket).unwrap();
    let _server = QuoteService::new(QuoteForm::V4).unwrap().serve(listener).unwrap();
    let memory = SharedMemory::for_test(RAM);
    let (exits, _, interrupts) = td(&memory, Some(QuoteServiceAddress::Unix(socket)));
    let mut page = FakePage::new(40).with(40, &[0x10004, KVMS_OWN, 0x70]);
    assert!(matches!(exits.handle_page(page.page(), 5, 0, &mut Row::default()), Next::Run));
    assert_eq!(page.u64(48), 0);

    let report = td_report();
    memory.write_obj(0x8000, &[1u64, 0, 1024]).unwrap();
    memory.write(0x8000 + 24, &report).unwrap();
    let mut page = FakePage::new(40).with(40, &[0x10002, KVMS_OWN, 0x8000, 0x4000]);
    assert!(matches!(exits.handle_page(page.page(), 1, 0, &mut Row::default()), Next::Run));
    assert_eq!(page.u64(48), 0);
    assert_eq!(
        interrupts.recv_timeout(Duration::from_secs(60)).unwrap(),
        Msi { address: 0xfee0_5000, data: 0x70 }
    );
    let [_, status, lens] = memory.read_obj::<[u64; 3]>(0x8000).unwrap();
    let mut quote = vec![0; (lens >> 32) as usize];
    memory.read(0x8000 + 24, &mut quote).unwrap();
    assert_eq!((status, quote[..2].to_vec()), (0, vec![4, 0]));
    assert!(quote.windows(64).any(|w| w == [0x42; 64]));

    // A report that no module made gets none.
    memory.write_obj(0x8000, &[1u64, 0, 1024]).unwrap();
    memory.write(0x8000 + 24, &[7; 1024]).unwrap();
    assert!(matches!(exits.handle_page(page.page(), 1, 0, &mut Row::default()), Next::Run));
    interrupts.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(memory.read_obj::<u64>(0x8008).unwrap(), 1 << 63);
}

/// The private page of hostile guests; what is in it must never change.
const PRIVATE: u64 = 0x5000;

/// What a hostile guest may put where an address or a count is expected.
fn hostile() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (0..RAM / 0x1000 + 2).prop_map(|n| n << 12),
        (0..RAM + 0x2000),
        (0u64..64).prop_map(|bit| 1 << bit),
        prop::sample::select(vec![0x10000u64, 0x10002, 0x10004, 1, 12, 1 << 4, u64::MAX]),
    ]
}

proptest! {
    /// Whatever stands in the page: no panic, and only values that KVM takes go back.
    #[test]
    fn hostile_pages(
        reason in prop::sample::select(vec![17u32, 24, 39, 40, 43, 44]),
        values in prop::collection::vec(hostile(), 32),
        errno in prop::sample::select(vec![libc::EFAULT, libc::EHWPOISON, 0]),
        apic_id: u32,
    ) {
        let memory = SharedMemory::for_test(RAM);
        let (exits, events, _) = td(&memory, None);
        exits.converter.convert(PRIVATE, 1, Target::Private).unwrap();
        let mut page = FakePage::new(reason).with(32, &values).with(48, &[KVMS_OWN]);
        let before = page.bytes().to_vec();
        let next = exits.handle_page(page.page(), apic_id, errno, &mut Row::default());
        let answered = matches!(reason, 40 | 43);
        prop_assert_eq!(matches!(next, Next::Stop), !answered);
        prop_assert_eq!(events.try_recv().is_err(), answered);
        match reason {
            40 => prop_assert!(matches!(page.u64(48), 0 | KVMS_OWN | 0x8000_0000_0000_0000 | 0x8000_0000_0000_0002)),
            43 => prop_assert!(matches!(page.u64(48), 0 | 5 | 11 | 28)),
            _ => prop_assert_eq!(page.bytes(), &before[..]),
        }
        exits.converter.convert(PRIVATE, 1, Target::Shared).unwrap();
        prop_assert_eq!(memory.read_obj::<[u8; 4096]>(PRIVATE).unwrap(), [0; 4096]);
    }

    /// Whatever a hypercall says: the answer is one that its reader takes, and success means that every
    /// page is on the side that was asked for.
    #[test]
    fn hostile_hypercalls(
        nr in prop_oneof![9 => Just(12u64), 1 => any::<u64>()],
        gpa in hostile(), pages in hostile(), attributes in hostile(),
        kind in prop::sample::select(vec![PlatformKind::Snp, PlatformKind::Tdx, PlatformKind::Protected, PlatformKind::Off]),
    ) {
        let memory = SharedMemory::for_test(RAM);
        let (exits, _) = exits(&memory, CocoExits::with(kind, None, None));
        exits.converter.convert(PRIVATE, 1, Target::Private).unwrap();
        let mut ret = 99;
        let args = [gpa, pages, attributes, 0, 0, 0];
        exits.hypercall(HypercallExit { nr, args, ret: &mut ret, longmode: 1 });
        let by_kvm = matches!(kind, PlatformKind::Snp | PlatformKind::Tdx);
        prop_assert!(ret == 0 || ret == if by_kvm { 22 } else { 22u64.wrapping_neg() }, "{ret:#x}");
        if ret == 0 {
            let end = gpa.checked_add(pages.checked_mul(0x1000).unwrap()).unwrap();
            let private = attributes & 1 << 4 != 0;
            for page in (gpa..end.min(RAM)).step_by(0x1000) {
                prop_assert_eq!(memory.is_private(page), private);
            }
        } else {
            prop_assert_eq!(exits.converter.stats().private_pages(), 1);
        }
    }
}
