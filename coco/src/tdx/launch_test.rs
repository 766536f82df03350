//! The launch over a kernel that keeps its rules and is disturbed: what arrives, in which order, and what
//! is said when it is refused.

use cloister_firmware::measure::{Passes, measure_tdx};
use cloister_firmware::ovmf::Firmware;
use cloister_firmware::plan::{
    GuestLayout, Identity, LaunchPlan, PageKind, PageRun, TdIdentity, TdxBoot, plan_tdx,
};
use kvm_bindings::kvm_cpuid_entry2;

use super::abi::*;
use super::fake_kvm::FakeKvm;
use super::*;

/// A section of TDVF metadata: data offset and length, address, size, type, attributes.
type Section = (u32, u32, u64, u64, u32, u32);

/// Boot volume of two chunks and a bit, variables, hand-off blocks, temporary memory.
const BOOT_PAGES: u64 = 600;
const IMAGE: usize = (BOOT_PAGES as usize + 1) * 4096;
const SECTIONS: [Section; 4] = [
    (0x1000, BOOT_PAGES as u32 * 4096, 0x1_0000_0000 - BOOT_PAGES * 4096, BOOT_PAGES * 4096, 0, 1),
    (0, 0x1000, 0x1_0000_0000 - IMAGE as u64, 0x1000, 1, 0),
    (0, 0, 0x80_9000, 0x2000, 2, 0),
    (0, 0, 0x80_0000, 0x6000, 3, 0),
];

/// A firmware image with a TDVF descriptor and bytes that differ from page to page.
fn firmware() -> Firmware {
    let mut image: Vec<u8> = (0..IMAGE).map(|at| (at / 4096 * 7 + at % 251) as u8).collect();
    let mut block =
        vec![0xf3, 0xf9, 0xea, 0xe9, 0x8e, 0x16, 0xd5, 0x44, 0xa8, 0xeb, 0x7f, 0x4d, 0x87, 0x38, 0xf6, 0xae];
    block.extend(b"TDVF");
    block.extend(
        [16 + 32 * SECTIONS.len() as u32, 1, SECTIONS.len() as u32].iter().flat_map(|n| n.to_le_bytes()),
    );
    for (offset, len, gpa, size, kind, attributes) in SECTIONS {
        block.extend([offset, len].iter().flat_map(|n| n.to_le_bytes()));
        block.extend([gpa, size].iter().flat_map(|n| n.to_le_bytes()));
        block.extend([kind, attributes].iter().flat_map(|n| n.to_le_bytes()));
    }
    image[..block.len()].copy_from_slice(&block);
    image[IMAGE - 0x40..].fill(0);
    image[IMAGE - 0x20..IMAGE - 0x1c].copy_from_slice(&(IMAGE as u32 - 16).to_le_bytes());
    Firmware::parse(image).unwrap()
}

fn plan() -> LaunchPlan {
    let layout = GuestLayout::new(64 << 20);
    let identity = Identity {
        tdx: TdIdentity {
            mrconfigid: [1; 48],
            mrowner: [2; 48],
            mrownerconfig: [3; 48],
            ..TdIdentity::default()
        },
        ..Identity::default()
    };
    plan_tdx(TdxBoot { firmware: &firmware(), layout, vcpus: 2, identity }).unwrap()
}

fn supplied() -> Vec<kvm_cpuid_entry2> {
    let leaf = |function, index, n| kvm_cpuid_entry2 {
        function,
        index,
        eax: n,
        ebx: n,
        ecx: n,
        edx: n,
        ..Default::default()
    };
    vec![
        leaf(0, 0, 1),
        leaf(1, 0, u32::MAX),
        leaf(7, 0, u32::MAX),
        leaf(7, 1, u32::MAX),
        leaf(0xd, 0, 0x2e7),
        leaf(0x8000_0008, 0, 46),
    ]
}

/// All steps, as a platform takes them.
fn launch(kvm: &FakeKvm, plan: &LaunchPlan) -> Result<(), TdxLaunchError> {
    let launch = TdxLaunch::new(kvm);
    launch.init_vm(&plan.identity.tdx, &supplied())?;
    for index in 0..plan.vcpus.len() as u32 {
        launch.init_vcpu(index, plan.td_hob.unwrap())?;
        launch.vcpu_cpuid(index)?;
    }
    launch.load(plan)?;
    launch.finalize()
}

#[test]
fn what_was_predicted_arrives() {
    let (kvm, plan) = (FakeKvm::new(), plan());
    launch(&kvm, &plan).unwrap();
    let predicted = measure_tdx(&plan, Passes::Single).unwrap().digest;
    assert_eq!(kvm.mrtd(), predicted.0);

    let state = kvm.state();
    assert!(state.finalized);
    assert_eq!(state.pages.len() as u64, BOOT_PAGES + 1 + 2 + 6);
    assert_eq!(state.pages.iter().filter(|(_, measured, _)| *measured).count() as u64, BOOT_PAGES);
    assert!(state.most_pages_at_once <= 256, "memory stays small");
    let order: Vec<_> = [0, 1, 2, 3].map(|n| SECTIONS[n].2).to_vec();
    let first_of_runs: Vec<_> = state.pages.iter().map(|p| p.0).filter(|gpa| order.contains(gpa)).collect();
    assert_eq!(first_of_runs, order, "sections in the firmware's order");
}

#[test]
fn the_commands_come_in_kvm_s_order() {
    let (kvm, plan) = (FakeKvm::new(), plan());
    launch(&kvm, &plan).unwrap();
    let mut order: Vec<_> =
        kvm.state().commands.iter().map(|(vcpu, cmd)| (*vcpu, TdxCommandId(cmd.id).name())).collect();
    order.dedup();
    assert_eq!(
        order,
        [
            (None, "TDX_CAPABILITIES"),
            (None, "TDX_INIT_VM"),
            (Some(0), "TDX_INIT_VCPU"),
            (Some(0), "TDX_GET_CPUID"),
            (Some(1), "TDX_INIT_VCPU"),
            (Some(1), "TDX_GET_CPUID"),
            (Some(0), "TDX_INIT_MEM_REGION"),
            (None, "TDX_FINALIZE_VM"),
        ]
    );
}

#[test]
fn a_td_is_what_was_asked_for() {
    let kvm = FakeKvm::new();
    let td = TdxLaunch::new(&kvm).init_vm(&plan().identity.tdx, &supplied()).unwrap();
    assert_eq!((td.attributes, td.xfam), (1 << 28, 0x2e7));
    assert_eq!((td.capabilities.user_calls, td.capabilities.kernel_calls), ([2, 0], [0, 0]));
    let state = kvm.state();
    let (head, entries) = state.td.as_ref().unwrap();
    assert_eq!((head.attributes, head.xfam), (1 << 28, 0x2e7));
    assert_eq!((head.mrconfigid, head.mrowner, head.mrownerconfig), ([1; 48], [2; 48], [3; 48]));
    assert_eq!((head.reserved, head.cpuid.padding), ([0; 12], 0), "padding is zero");
    assert!(entries.iter().all(|e| e.padding == [0; 3]));
    let sizes = entries.iter().find(|e| e.function == 0x8000_0008).unwrap();
    assert_eq!(sizes.eax >> 16 & 0xff, 48, "the address width is always there");
}

#[test]
fn init_vcpu_passes_a_value_and_no_address() {
    let (kvm, plan) = (FakeKvm::new(), plan());
    launch(&kvm, &plan).unwrap();
    assert_eq!(plan.td_hob, Some(0x80_9000));
    assert_eq!(kvm.state().vcpus.iter().collect::<Vec<_>>(), [(&0, &0x80_9000), (&1, &0x80_9000)]);
}

/// KVM writes the status back and then refuses a struct that still has it.
#[test]
fn no_command_enters_with_a_status() {
    let (kvm, plan) = (FakeKvm::new(), plan());
    let busy = SeamcallStatus::OPERAND_BUSY.0 | 0x80;
    for _ in 0..3 {
        kvm.fail(TdxCommandId::INIT_VM, 0, libc::EAGAIN, SeamcallStatus::RND_NO_ENTROPY.0);
    }
    kvm.fail(TdxCommandId::INIT_VCPU, 0, libc::EBUSY, busy);
    kvm.fail(TdxCommandId::INIT_MEM_REGION, 5, libc::EBUSY, busy);
    for _ in 0..3 {
        kvm.fail(TdxCommandId::FINALIZE_VM, 0, libc::EBUSY, busy);
    }
    launch(&kvm, &plan).unwrap();
    assert_eq!(kvm.commands(TdxCommandId::INIT_VM).len(), 4);
    assert_eq!(kvm.commands(TdxCommandId::FINALIZE_VM).len(), 4);
    assert!(kvm.state().faults.is_empty(), "all of it happened");
    assert!(kvm.state().commands.iter().all(|(_, cmd)| cmd.hw_error == 0));
}

#[test]
fn an_interrupted_region_goes_on_where_it_stood() {
    let (kvm, plan) = (FakeKvm::new(), plan());
    for (after, errno) in [
        (3, libc::EINTR),
        (0, libc::EAGAIN),
        (250, libc::EBUSY),
        (0, libc::EINTR),
        (0, libc::EINTR),
        (1, libc::EAGAIN),
        (255, libc::EINTR),
        (2, libc::EINTR),
    ] {
        kvm.fail(TdxCommandId::INIT_MEM_REGION, after, errno, 0);
    }
    launch(&kvm, &plan).unwrap();
    assert!(kvm.state().faults.is_empty(), "all of it happened");
    assert_eq!(kvm.mrtd(), measure_tdx(&plan, Passes::Single).unwrap().digest.0, "no page twice, none lost");
}

#[test]
fn a_region_that_gets_nowhere_is_given_up() {
    let (kvm, plan) = (FakeKvm::new(), plan());
    for _ in 0..20_000 {
        kvm.fail(TdxCommandId::INIT_MEM_REGION, 0, libc::EBUSY, 0);
    }
    let refused = launch(&kvm, &plan).unwrap_err();
    assert!(matches!(refused, TdxLaunchError::Stuck { gpa, .. } if gpa == SECTIONS[0].2), "{refused}");
}

#[test]
fn a_page_that_is_refused_is_named() {
    let (kvm, plan) = (FakeKvm::new(), plan());
    kvm.fail(TdxCommandId::INIT_MEM_REGION, 7, libc::EIO, 0);
    let refused = launch(&kvm, &plan).unwrap_err().to_string();
    let gpa = SECTIONS[0].2 + 7 * 4096;
    assert!(refused.contains(&format!("boot firmware volume, guest address {gpa:#x}")), "{refused}");
    assert!(!kvm.state().finalized);
    assert_eq!(kvm.commands(TdxCommandId::INIT_MEM_REGION).len(), 1, "it is not tried again");
}

#[test]
fn room_for_cpuid_grows_until_it_fits() {
    let kvm = FakeKvm::new();
    {
        let mut state = kvm.state();
        let leaf = |n: u32| CpuidEntry { function: 0x100 + n, ..CpuidEntry::default() };
        state.configurable.extend((0..200).map(leaf));
        state.seen.extend((0..200).map(leaf));
    }
    let launch = TdxLaunch::new(&kvm);
    assert_eq!(launch.init_vm(&TdIdentity::default(), &supplied()).unwrap().capabilities.cpuid.len(), 203);
    assert_eq!(kvm.commands(TdxCommandId::CAPABILITIES).len(), 3, "64, 128, 256");
    launch.init_vcpu(0, 0).unwrap();
    assert_eq!(launch.vcpu_cpuid(0).unwrap().len(), 202);
    assert_eq!(kvm.commands(TdxCommandId::GET_CPUID).len(), 2, "the second time with what KVM said");
}

#[test]
fn room_for_cpuid_does_not_grow_for_ever() {
    let kvm = FakeKvm::new();
    kvm.state().configurable = vec![CpuidEntry::default(); 1025];
    kvm.state().seen = vec![CpuidEntry::default(); 1025];
    let launch = TdxLaunch::new(&kvm);
    assert!(matches!(launch.capabilities(), Err(TdxLaunchError::TooManyLeaves { room: 1024 })));
    kvm.state().configurable.truncate(1024);
    assert_eq!(launch.capabilities().unwrap().cpuid.len(), 1024);

    let kvm = FakeKvm::new();
    let launch = TdxLaunch::new(&kvm);
    launch.init_vm(&TdIdentity::default(), &supplied()).unwrap();
    kvm.state().seen = vec![CpuidEntry::default(); 1025];
    assert!(matches!(launch.vcpu_cpuid(0), Err(TdxLaunchError::TooManyLeaves { .. })));
}

#[test]
fn what_the_host_does_not_offer_is_not_asked_of_it() {
    let kvm = FakeKvm::new();
    let launch = TdxLaunch::new(&kvm);
    let debug = TdIdentity { attributes: 1, ..TdIdentity::default() };
    let refused = launch.init_vm(&debug, &supplied()).unwrap_err().to_string();
    assert!(refused.contains("bit 0 (DEBUG) of the TD's ATTRIBUTES"), "{refused}");
    let cet = TdIdentity { xfam: Some(0x1807), ..TdIdentity::default() };
    let refused = launch.init_vm(&cet, &supplied()).unwrap_err().to_string();
    assert!(refused.contains("bit 11 (CET user) of the TD's XFAM"), "{refused}");
    kvm.state().configurable.pop();
    let refused = launch.init_vm(&TdIdentity::default(), &supplied()).unwrap_err().to_string();
    assert!(refused.contains("0x80000008"), "{refused}");
    assert!(kvm.commands(TdxCommandId::INIT_VM).is_empty());
}

#[test]
fn refusals_of_the_module_are_decoded() {
    let kvm = FakeKvm::new();
    let status = SeamcallStatus::OPERAND_INVALID.with_operand(Operand::XFAM);
    kvm.fail(TdxCommandId::INIT_VM, 0, libc::EINVAL, status.0);
    let refused = TdxLaunch::new(&kvm).init_vm(&TdIdentity::default(), &supplied()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "TDX_INIT_VM failed: Invalid argument (os error 22): the TDX module refused; SEAMCALL status \
         0xc000010000000041, OPERAND_INVALID (invalid operand), operand XFAM. Ask for extended state (XFAM) \
         that belongs together and that this host has"
    );
    assert_eq!(kvm.commands(TdxCommandId::INIT_VM).len(), 1, "it is not tried again");
}

#[test]
fn a_host_without_entropy_is_given_up() {
    let kvm = FakeKvm::new();
    for _ in 0..20_000 {
        kvm.fail(TdxCommandId::INIT_VM, 0, libc::EAGAIN, 0);
    }
    let refused = TdxLaunch::new(&kvm).init_vm(&TdIdentity::default(), &supplied()).unwrap_err();
    assert!(refused.to_string().contains("no entropy"), "{refused}");
    assert_eq!(kvm.commands(TdxCommandId::INIT_VM).len(), 10_000);
}

#[test]
fn a_plan_for_something_else_is_refused() {
    let (kvm, mut plan) = (FakeKvm::new(), plan());
    plan.pages.push(PageRun::empty(0x1000, 1, PageKind::Secrets, "secrets page"));
    let refused = launch(&kvm, &plan).unwrap_err();
    assert!(matches!(refused, TdxLaunchError::Kind { kind: PageKind::Secrets, .. }), "{refused}");
    plan.pages.pop();
    plan.pages.insert(0, PageRun::bytes((1 << 47) - 4096, PageKind::Measured, "x", vec![1u8; 8192]));
    let refused = launch(&FakeKvm::new(), &plan).unwrap_err();
    assert!(matches!(refused, TdxLaunchError::Beyond { .. }), "{refused}");
    plan.pages[0].kind = PageKind::Shared;
    launch(&FakeKvm::new(), &plan).unwrap();
}

/// A kernel that says it did more than it was asked to, or other pages.
struct Liar(fn(&mut TdxInitMemRegion));

impl TdxIoctl for Liar {
    fn vm_op(&self, _cmd: &mut TdxCmd) -> Result<(), i32> {
        Ok(())
    }

    #[allow(unsafe_code, reason = "commands carry addresses of our own memory, as they do for the kernel")]
    fn vcpu_op(&self, _vcpu: u32, cmd: &mut TdxCmd) -> Result<(), i32> {
        // SAFETY: INIT_MEM_REGION is the only command given here.
        unsafe { (self.0)(&mut *(cmd.data as *mut TdxInitMemRegion)) };
        Err(libc::EINTR)
    }
}

#[test]
fn progress_that_cannot_be_is_not_believed() {
    for lie in [
        (|r| r.nr_pages += 1) as fn(&mut TdxInitMemRegion),
        |r| r.nr_pages -= 1,
        |r| r.gpa += 4096,
        |r| r.source_addr = 0,
        |r| *r = TdxInitMemRegion { nr_pages: 0, ..*r },
    ] {
        let refused = TdxLaunch::new(&Liar(lie)).load(&plan()).unwrap_err();
        assert!(matches!(refused, TdxLaunchError::Nonsense { .. }), "{refused}");
    }
}
