//! The offsets here are the kernel's (include/uapi/linux/kvm.h of 7.2, by a C compiler), written out again.

use cloister_coco::snp::certs::HeldLocks;

use super::fake::FakePage;
use super::*;

fn exit(mut page: FakePage) -> Option<PageExit> {
    page.page().exit()
}

#[test]
fn a_memory_fault() {
    let page = FakePage::new(39).with(32, &[8, 0x1234_5000, 0x1000]);
    assert_eq!(exit(page), Some(PageExit::MemoryFault { flags: 8, gpa: 0x1234_5000, size: 0x1000 }));
}

#[test]
fn a_system_event_has_as_much_data_as_it_says() {
    let event = |ndata: u32| {
        let mut page = FakePage::new(24).with(40, &(1..=16).collect::<Vec<_>>());
        page.put(32, &6u32.to_le_bytes());
        page.put(36, &ndata.to_le_bytes());
        match exit(page) {
            Some(PageExit::SystemEvent { kind: 6, data }) => data,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(event(0), [0; 16]);
    assert_eq!(event(1)[..2], [1, 0]);
    assert_eq!(event(16)[15], 16);
    assert_eq!(event(u32::MAX), event(16));
}

#[test]
fn an_internal_error() {
    let mut page = FakePage::new(17);
    page.put(32, &[1, 0, 0, 0, 9]);
    assert_eq!(exit(page), Some(PageExit::InternalError { suberror: 1 }));
}

#[test]
fn tdvmcalls() {
    let call =
        |nr: u64, arguments: &[u64]| exit(FakePage::new(40).with(40, &[nr, 0xdead]).with(56, arguments));
    let quote = TdCall::GetQuote { gpa: 0x8000, size: 0x2000 };
    assert_eq!(call(0x10002, &[0x8000, 0x2000]), Some(PageExit::Tdx(quote)));
    assert_eq!(call(0x10000, &[1]), Some(PageExit::Tdx(TdCall::GetTdVmCallInfo { leaf: 1 })));
    let notify = TdCall::SetupEventNotifyInterrupt { vector: 0x60 };
    assert_eq!(call(0x10004, &[0x60]), Some(PageExit::Tdx(notify)));
    assert_eq!(call(0x10005, &[]), Some(PageExit::Tdx(TdCall::Unknown(TdvmcallLeaf(0x10005)))));
}

#[test]
fn answers_to_tdvmcalls_change_nothing_else() {
    let kvms = 0x8000_0000_0000_0003;
    let asked = || FakePage::new(40).with(40, &[0x10000, kvms, 1]).with(104, &[7]);
    let mut page = asked();
    page.page().answer_tdx(TdAnswer::AsKvmHasIt);
    assert_eq!(page.bytes(), asked().bytes());
    page.page().answer_tdx(TdAnswer::Status(TdvmcallStatus::RETRY));
    assert_eq!(page.bytes(), asked().with(48, &[1]).bytes());
    page.page().answer_tdx(TdAnswer::Info([2, 3, 4, 5]));
    assert_eq!(page.bytes(), asked().with(48, &[0]).with(64, &[2, 3, 4, 5]).bytes());
    // R14 is the last that KVM copies.
    assert_eq!((page.u64(88), page.u64(96), page.u64(104)), (5, 0, 7));
}

#[test]
fn a_request_for_certificates_and_its_answer() {
    let mut page = FakePage::new(43).with(32, &[0x7000, 2]);
    let request = CertRequest { gpa: 0x7000, npages: 2 };
    assert_eq!(page.page().exit(), Some(PageExit::CertRequest(request)));
    let answer = CertAnswer { ret: 28, npages: 3, locks: HeldLocks::none(), why_not: None };
    page.page().answer_certs(&answer);
    assert_eq!(page.bytes(), FakePage::new(43).with(32, &[0x7000, 3, 28]).bytes());
}

#[test]
fn other_exits_are_not_ours() {
    for reason in [0, 2, 3, 6, 42, 44, u32::MAX] {
        assert_eq!(exit(FakePage::new(reason)), None);
    }
}
