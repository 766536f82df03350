use super::*;
use crate::measure::measure_snp;
use crate::test_files::{ElfBuilder, image_of};
use proptest::prelude::*;

fn sample() -> Vec<u8> {
    ElfBuilder::new(0x20_0010)
        .load(0x20_0000, &[0x90; 0x20], 0x20, true)
        .load(0x20_1234, b"data", 0x2000, false)
        .build()
}

fn boot(elf: &[u8]) -> PayloadBoot {
    PayloadBoot {
        image: image_of(elf),
        params: b"hello".to_vec(),
        extra: vec![],
        memory: 64 << 20,
        vcpus: 2,
        signature: 0xa0_0f11,
        identity: Identity::default(),
        initial: InitialPrivacy::Private,
        snp_pages: true,
        c_bit: None,
    }
}

fn refused(change: impl FnOnce(&mut PayloadBoot)) -> PlanError {
    let mut boot = boot(&sample());
    change(&mut boot);
    plan_payload(boot).unwrap_err()
}

fn page(plan: &LaunchPlan, gpa: u64) -> [u8; 4096] {
    let run = plan.pages.iter().find(|r| (r.gpa..r.end()).contains(&gpa)).unwrap();
    let mut page = [0; 4096];
    run.read(gpa - run.gpa, &mut page).unwrap();
    page
}

#[test]
fn the_plan_lists_everything_in_order() {
    let plan = plan_payload(boot(&sample())).unwrap();
    let runs: Vec<_> = plan.pages.iter().map(|r| (r.label, r.gpa, r.pages, r.kind)).collect();
    assert_eq!(
        runs,
        [
            ("GDT and TSS", 0x1000, 1, PageKind::Measured),
            ("page tables", 0x9000, 6, PageKind::Measured),
            ("boot information", 0x2000, 1, PageKind::Measured),
            ("first stack", 0x1_0000, 16, PageKind::Zero),
            ("interrupt stack", 0x2_0000, 4, PageKind::Zero),
            ("payload code", 0x20_0000, 1, PageKind::Measured),
            ("payload data", 0x20_1000, 3, PageKind::Measured),
            ("secrets page", 0x9_d000, 1, PageKind::Secrets),
            ("CPUID page", 0x9_e000, 1, PageKind::Cpuid),
        ]
    );
    assert_eq!(&page(&plan, 0x20_1000)[0x234..0x239], b"data\0");
    assert_eq!(page(&plan, 0x20_3000), [0; 4096]);
    assert_eq!(&page(&plan, 0x2000)[..6], b"hello\0");
}

#[test]
fn what_the_caller_adds_is_launched_behind_the_segments_and_checked() {
    let init = PageRun::bytes(low::FREE.start, PageKind::Unmeasured, "init data", vec![1u8; 5000]);
    let plan = plan_payload(PayloadBoot { extra: vec![init.clone()], ..boot(&sample()) }).unwrap();
    let labels: Vec<_> = plan.pages.iter().map(|r| r.label).collect();
    assert_eq!(labels[6..8], ["payload data", "init data"]);
    let on_the_gdt = PageRun { gpa: low::GDT.start, ..init };
    assert!(matches!(refused(|b| b.extra = vec![on_the_gdt]), PlanError::Overlap { .. }));
}

#[test]
fn the_first_vcpu_starts_in_long_mode_and_the_others_wait() {
    let plan = plan_payload(boot(&sample())).unwrap();
    let [bsp, ap] = &plan.vcpus[..] else { panic!("two vCPUs") };
    assert_eq!((bsp.rip, bsp.rdi, bsp.rsp), (0x20_0010, 0x2000, 0x2_0000));
    assert_eq!((bsp.cr0, bsp.cr4, bsp.efer, bsp.cr3), (0x8000_0033, 0x620, 0x500, 0x9000));
    assert_eq!((bsp.cs.selector, bsp.ss.selector, bsp.tr.selector), (0x08, 0x10, 0x28));
    assert_eq!(ap, &CpuState::reset(0xa0_0f11));

    // The registers agree with the tables in memory.
    let gdt = page(&plan, bsp.gdtr.base);
    let entry = |selector: u16| {
        let at = usize::from(selector & !7);
        u64::from_le_bytes(gdt[at..at + 8].try_into().unwrap())
    };
    assert_eq!(usize::from(bsp.gdtr.limit), 7 * 8 - 1);
    assert_eq!(entry(bsp.cs.selector), tables::descriptor(&bsp.cs));
    assert_eq!(entry(bsp.ss.selector), tables::descriptor(&bsp.ss));
    // In memory the TSS is available (bit 1 of its type clear), in TR it is busy.
    assert_eq!(entry(bsp.tr.selector) | 0x200_0000_0000, tables::descriptor(&bsp.tr));
    let at = (bsp.tr.base - bsp.gdtr.base) as usize;
    assert_eq!(u64::from_le_bytes(gdt[at + 4..at + 12].try_into().unwrap()), 0x2_4000);
}

#[test]
fn the_same_input_measures_the_same_and_every_input_counts() {
    let digest = |b| measure_snp(&plan_payload(b).unwrap()).unwrap().digest;
    let base = digest(boot(&sample()));
    assert_eq!(digest(boot(&sample())), base);
    assert_ne!(digest(PayloadBoot { params: b"hellp".to_vec(), ..boot(&sample()) }), base);
    assert_ne!(digest(PayloadBoot { vcpus: 3, ..boot(&sample()) }), base);
    assert_ne!(digest(PayloadBoot { snp_pages: false, ..boot(&sample()) }), base);
    assert_ne!(digest(PayloadBoot { c_bit: Some(51), ..boot(&sample()) }), base);
    // Memory size is told in the parameters, if at all.
    assert_eq!(digest(PayloadBoot { memory: 128 << 20, ..boot(&sample()) }), base);
}

#[test]
fn what_cannot_be_planned_is_refused_with_a_reason() {
    assert!(matches!(refused(|b| b.params = vec![0; 4097]), PlanError::ParamsTooLong { len: 4097 }));
    assert!(matches!(refused(|b| b.memory = 16 << 20), PlanError::MemoryTooSmall { .. }));
    assert!(matches!(refused(|b| b.vcpus = 0), PlanError::Vcpus { .. }));
    assert!(matches!(refused(|b| b.c_bit = Some(3)), PlanError::EncryptionBit { bit: 3 }));
    let linked = |elf: ElfBuilder| refused(|b| b.image = image_of(&elf.build()));
    let code = [0x90; 16];
    let text = |at| ElfBuilder::new(at).load(at, &code, 16, true);
    assert!(matches!(linked(text(0x1000)), PlanError::SegmentTooLow { .. }));
    assert!(matches!(linked(text(64 << 20)), PlanError::OutsideRam { .. }));
    assert!(matches!(linked(text(1 << 32)), PlanError::OutsideRam { .. }));
    assert!(matches!(
        linked(ElfBuilder::new(0x20_0000).load(0x20_0000, &code, 16, false)),
        PlanError::Entry { .. }
    ));
    assert!(matches!(
        linked(ElfBuilder::new(0x20_0010).load(0x20_0000, &code, 16, true)),
        PlanError::Entry { .. }
    ));
    assert!(matches!(linked(text(0x20_0000).load(0x20_0800, &code, 16, false)), PlanError::Overlap { .. }));
    assert!(matches!(refused(|b| b.image = image_of(b"#!/bin/sh\n")), PlanError::Payload { .. }));
}

proptest! {
    #[test]
    fn no_elf_makes_the_planner_panic(
        changes in prop::collection::vec((0usize..200, any::<u8>()), 1..6),
    ) {
        let mut bytes = sample();
        for (at, value) in changes {
            bytes[at] = value;
        }
        if let Ok(plan) = plan_payload(boot(&bytes)) {
            plan.check().unwrap();
        }
    }
}
