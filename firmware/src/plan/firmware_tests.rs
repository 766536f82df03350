use super::*;
use crate::linux::Blob;
use crate::test_firmware::{FirmwareBuilder, INTEL_TDX, amdsev};

fn boot(firmware: &Firmware) -> FirmwareBoot<'_> {
    FirmwareBoot {
        firmware,
        svsm: None,
        hashes: None,
        profile: Profile::Cloister,
        memory: 64 << 20,
        vcpus: 2,
        signature: 0x80_0f12,
        identity: Identity::default(),
    }
}

fn hashes() -> KernelHashes {
    KernelHashes::new(&Blob::empty(), None, "console=ttyS0")
}

fn kinds(plan: &LaunchPlan) -> Vec<(&'static str, PageKind, u64)> {
    plan.pages.iter().map(|r| (r.label, r.kind, r.gpa)).collect()
}

#[test]
fn pages_in_the_order_of_the_launch() {
    let firmware = amdsev().build();
    let plan = plan_firmware(boot(&firmware)).unwrap();
    assert_eq!(
        kinds(&plan),
        [
            ("firmware", PageKind::Measured, 0xffff_e000),
            ("SEC memory", PageKind::Zero, 0x80_0000),
            ("secrets page", PageKind::Secrets, 0x80_d000),
            ("CPUID page", PageKind::Cpuid, 0x80_e000),
            ("SVSM calling area", PageKind::Zero, 0x80_f000),
            ("SEC memory", PageKind::Zero, 0x81_1000),
            ("kernel hashes", PageKind::Zero, 0x81_0000),
        ]
    );
    assert_eq!(plan.pages[1].pages, 9);
    assert_eq!((plan.vcpus[0].cs.base, plan.vcpus[0].rip), (0xffff_0000, 0xfff0));
    assert_eq!((plan.vcpus[1].cs.base, plan.vcpus[1].rip), (0x80_0000, 0xb004));
    assert_eq!(plan.layout.firmware, Some(MemoryRange::new(0xffff_e000, 0x2000)));
}

#[test]
fn other_launchers_have_another_order_or_other_kinds() {
    let firmware = amdsev().build();
    let plan = |profile| plan_firmware(FirmwareBoot { profile, ..boot(&firmware) }).unwrap();
    let ec2 = kinds(&plan(Profile::Ec2));
    assert_eq!(ec2.last().unwrap().1, PageKind::Cpuid);
    assert_eq!(ec2.len(), 7);
    assert_eq!(kinds(&plan(Profile::Gce))[1].1, PageKind::Unmeasured);
    assert_eq!(kinds(&plan(Profile::Gce))[4].1, PageKind::Zero);
}

#[test]
fn the_table_lies_in_the_page_that_is_launched_for_it() {
    let firmware = amdsev().build();
    let plan = plan_firmware(FirmwareBoot { hashes: Some(hashes()), ..boot(&firmware) }).unwrap();
    let run = plan.pages.last().unwrap();
    assert_eq!((run.kind, run.gpa, run.pages), (PageKind::Measured, 0x81_0000, 1));
    let mut page = [1; 4096];
    run.read(0, &mut page).unwrap();
    assert_eq!(page[0xc00..][..TABLE_SIZE], hashes().table());
    assert!(page[..0xc00].iter().chain(&page[0xc00 + TABLE_SIZE..]).all(|&b| b == 0));
}

fn refused(image: FirmwareBuilder) -> FirmwareError {
    let firmware = image.build();
    match plan_firmware(FirmwareBoot { hashes: Some(hashes()), ..boot(&firmware) }).unwrap_err() {
        PlanError::Firmware { source } => source,
        other => panic!("{other}"),
    }
}

#[test]
fn a_firmware_that_would_not_check_the_kernel_is_refused() {
    let image = |gpa, size, sections: &[[u32; 3]]| {
        FirmwareBuilder::new(1).numbers(known::HASH_BLOCK, &[gpa, size]).sev(sections)
    };
    let section = [[0x81_0000, 0x1000, 0x10]];
    assert!(matches!(refused(image(0, 0, &section)), FirmwareError::NoKernelHashes { .. }));
    assert!(matches!(refused(image(0x81_0c00, 0, &section)), FirmwareError::NoKernelHashes { .. }));
    assert!(matches!(refused(image(0x81_0c00, 0x400, &[])), FirmwareError::NoKernelHashes { .. }));
    assert!(matches!(refused(FirmwareBuilder::new(1).sev(&section)), FirmwareError::NoKernelHashes { .. }));
    for (gpa, size) in [(0x81_0c00, 175), (0x81_0f51, 0x400), (0x80_fff0, 0x400), (0x81_1000, 0x400)] {
        let e = refused(image(gpa, size, &section));
        assert!(matches!(e, FirmwareError::HashTablePlace { .. }), "{gpa:#x}: {e}");
    }
    assert!(matches!(refused(FirmwareBuilder::new(1)), FirmwareError::NoSevMetadata));
}

#[test]
fn numbers_of_vcpus() {
    let firmware = amdsev().build();
    let count = |profile, vcpus| plan_firmware(FirmwareBoot { profile, vcpus, ..boot(&firmware) });
    assert!(matches!(count(Profile::Cloister, 0), Err(PlanError::FirmwareVcpus { .. })));
    assert!(matches!(count(Profile::Cloister, 255), Err(PlanError::FirmwareVcpus { max: 254, .. })));
    assert_eq!(count(Profile::Qemu, 512).unwrap().vcpus.len(), 512);
    assert!(matches!(count(Profile::Qemu, 4097), Err(PlanError::FirmwareVcpus { .. })));

    let alone = FirmwareBuilder::new(1).sev(&[]).build();
    assert!(plan_firmware(FirmwareBoot { vcpus: 1, ..boot(&alone) }).is_ok());
    let two = plan_firmware(boot(&alone));
    assert!(matches!(two, Err(PlanError::Firmware { source: FirmwareError::NoResetBlock })));
}

#[test]
fn our_own_guests_sections_lie_in_their_memory() {
    let firmware = FirmwareBuilder::new(1).sev(&[[0xc000_0000, 0x1000, 1]]).build();
    let plan = |profile| plan_firmware(FirmwareBoot { profile, vcpus: 1, ..boot(&firmware) });
    assert!(matches!(plan(Profile::Cloister), Err(PlanError::OutsideRam { .. })));
    assert!(plan(Profile::Gce).is_ok());
}

#[test]
fn an_svsm_lies_below_the_variables_and_starts_instead() {
    let firmware = amdsev().build();
    let svsm = FirmwareBuilder::new(4).sev(&[[0, 0x1000, 1]]).numbers(known::SVSM_INFO, &[0x40]).build();
    let with = |image| FirmwareBoot { svsm: Some(Svsm { image, vars_size: 0x2000 }), ..boot(&firmware) };
    let plan = plan_firmware(with(&svsm)).unwrap_err();
    assert!(matches!(plan, PlanError::OutsideRam { label: "SVSM", .. }), "only others launch them: {plan}");

    let plan = plan_firmware(FirmwareBoot { profile: Profile::Qemu, ..with(&svsm) }).unwrap();
    assert_eq!(plan.pages[1].gpa, 0xffff_8000);
    assert_eq!((plan.pages[2].gpa, plan.pages.len()), (0, 3));
    assert!(plan.vcpus.iter().all(|cpu| cpu.rip == 0xffff_8040 && cpu.cr0 == 0x11));

    let kernel = FirmwareBoot { hashes: Some(hashes()), ..with(&svsm) };
    assert!(matches!(plan_firmware(kernel), Err(PlanError::SvsmWithKernel)));
    let no_svsm = plan_firmware(FirmwareBoot { profile: Profile::Qemu, ..with(&firmware) });
    assert!(matches!(no_svsm, Err(PlanError::Svsm { source: FirmwareError::NotAnSvsm { .. } })));
    let far = Svsm { image: &svsm, vars_size: u64::MAX };
    let far = plan_firmware(FirmwareBoot { svsm: Some(far), ..boot(&firmware) });
    assert!(matches!(far, Err(PlanError::Svsm { source: FirmwareError::ImagePlace { .. } })));
}

#[test]
fn a_td_has_its_firmware_s_sections() {
    use crate::plan::{TdxBoot, plan_tdx};
    let firmware = FirmwareBuilder::new(2).tdvf(&INTEL_TDX).put(0x1800, b"code").build();
    let layout = GuestLayout::new(64 << 20);
    let boot = TdxBoot { firmware: &firmware, layout, vcpus: 2, identity: Identity::default() };
    let plan = plan_tdx(boot.clone()).unwrap();
    assert_eq!(
        kinds(&plan),
        [
            ("boot firmware volume", PageKind::Measured, 0xffff_f000),
            ("configuration firmware volume", PageKind::Unmeasured, 0xffff_e000),
            ("hand-off blocks", PageKind::Unmeasured, 0x80_9000),
            ("temporary memory", PageKind::Unmeasured, 0x80_0000),
        ]
    );
    let mut page = [0; 4096];
    plan.pages[0].read(0, &mut page).unwrap();
    assert_eq!(page[0x800..0x804], *b"code");

    let not = amdsev().build();
    assert!(matches!(plan_tdx(TdxBoot { firmware: &not, ..boot.clone() }), Err(PlanError::Tdvf { .. })));
    let mut shim = INTEL_TDX.to_vec();
    shim.push((0, 0, 0x100_0000, 0x1000, 4, 2));
    let shim = FirmwareBuilder::new(2).tdvf(&shim).build();
    let e = plan_tdx(TdxBoot { firmware: &shim, ..boot }).unwrap_err().to_string();
    assert!(e.contains("PermMem") && e.contains("td-shim"), "{e}");
}
