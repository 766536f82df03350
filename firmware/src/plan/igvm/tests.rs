use super::*;
use crate::igvm::write::Writer;
use crate::igvm::{KVM_VMSA_GPA, PageDataType, PageFlags, ParameterKind};
use crate::measure::{measure_igvm, measure_snp, vmsa_page};
use crate::plan::{PageKind, Source};
use crate::test_files::image_of;

const SNP: u32 = 1;
const NATIVE: u32 = 2;
const MIB: u64 = 1 << 20;

fn vmsa() -> [u8; 4096] {
    vmsa_page(&CpuState { rip: 0x10_0000, ..CpuState::reset(0) }, 0x20)
}

fn start() -> Writer {
    Writer::new(2)
        .platform(SNP, PlatformType::SEV_SNP)
        .platform(NATIVE, PlatformType::NATIVE)
        .policy(SNP, 0x3_0000)
        .required(SNP | NATIVE, 16 * MIB, 16 << 20)
}

fn with_pages(writer: Writer) -> Writer {
    let (plain, normal) = (PageFlags::default(), PageDataType::NORMAL);
    writer
        .area(0, 4096, b"before")
        .area(1, 4096, &[])
        .parameter(ParameterKind::VP_COUNT, 0, 8)
        .parameter(ParameterKind::ENVIRONMENT_INFO, 0, 12)
        .parameter(ParameterKind::COMMAND_LINE, 0, 16)
        .parameter(ParameterKind::MEMORY_MAP, 1, 0)
        .insert(SNP | NATIVE, 0x1_0000, 1)
        .insert(SNP | NATIVE, 0x1_1000, 0)
        .page(SNP | NATIVE, MIB, plain, normal, b"one")
        .page(SNP | NATIVE, MIB + 0x1000, plain, normal, b"two")
        .page(SNP | NATIVE, MIB + 0x2000, plain, normal, &[])
        .page(SNP | NATIVE, MIB + 0x3000, plain, normal, &[])
        .page(SNP, 0x9000, plain, PageDataType::SECRETS, &[])
        .page(SNP, 0xa000, plain, PageDataType::CPUID_DATA, &[])
        .page(SNP | NATIVE, 0xb000, PageFlags::SHARED, normal, b"shared")
        .page(SNP | NATIVE, 0xc000, PageFlags::UNMEASURED, normal, b"loose")
}

fn file(writer: Writer) -> IgvmFile {
    IgvmFile::read(image_of(&writer.build())).unwrap()
}

fn sample() -> IgvmFile {
    file(with_pages(start()).vp_context(SNP, KVM_VMSA_GPA, 0, &vmsa()))
}

fn boot(file: &IgvmFile) -> IgvmBoot<'_> {
    IgvmBoot {
        file,
        platform: PlatformType::SEV_SNP,
        loader: Loader::Cloister,
        memory: 64 * MIB,
        vcpus: None,
        signature: 0x80_0f12,
        cmdline: "console=ttyS0",
        madt: None,
        identity: Identity { policy: 0x7_0000, host_data: [5; 32], ..Identity::default() },
        initial: InitialPrivacy::Private,
    }
}

fn refused(writer: Writer, change: impl FnOnce(&mut IgvmBoot<'_>)) -> IgvmPlanError {
    let file = file(writer);
    let mut boot = boot(&file);
    change(&mut boot);
    plan_igvm(&boot).unwrap_err()
}

#[test]
fn pages_come_in_the_order_of_the_file() {
    let file = sample();
    let planned = plan_igvm(&boot(&file)).unwrap();
    let runs: Vec<_> = planned.plan.pages.iter().map(|r| (r.label, r.gpa, r.pages, r.kind)).collect();
    assert_eq!(
        runs,
        [
            ("IGVM memory map", 0x1_0000, 1, PageKind::Unmeasured),
            ("IGVM machine parameters", 0x1_1000, 1, PageKind::Unmeasured),
            ("IGVM pages", MIB, 2, PageKind::Measured),
            ("IGVM zero pages", MIB + 0x2000, 2, PageKind::Measured),
            ("secrets page", 0x9000, 1, PageKind::Secrets),
            ("CPUID page", 0xa000, 1, PageKind::Cpuid),
            ("IGVM shared pages", 0xb000, 1, PageKind::Shared),
            ("IGVM unmeasured pages", 0xc000, 1, PageKind::Unmeasured),
        ]
    );
    let mut second = [0; 4096];
    planned.plan.pages[2].read(4096, &mut second).unwrap();
    assert_eq!(&second[..4], b"two\0");
    assert_eq!((planned.plan.identity.policy, planned.plan.identity.vmsa_features), (0x3_0000, 0x20));
    assert_eq!(planned.plan.identity.host_data, [5; 32]);
    assert_eq!((planned.plan.vcpus.len(), planned.plan.vcpus[0].rip), (1, 0x10_0000));
    assert!(planned.id_block.is_none() && planned.expected.is_none());
}

#[test]
fn parameters_are_filled() {
    let file = sample();
    let plan = plan_igvm(&boot(&file)).unwrap().plan;
    let area = |index: usize| match &plan.pages[index].source {
        Source::Bytes(bytes) => bytes.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(&area(1)[..30], b"before\0\0\x01\0\0\0\0\0\0\0console=ttyS0\0");
    // One entry of RAM from 0 on, 64 MiB in pages, then the end.
    let mut map = [0; 48];
    map[8..16].copy_from_slice(&(16 * 1024u64).to_le_bytes());
    assert_eq!(area(0)[..48], map);

    let shared = IgvmBoot { initial: InitialPrivacy::Shared, platform: PlatformType::NATIVE, ..boot(&file) };
    let plan = plan_igvm(&shared).unwrap().plan;
    let Source::Bytes(bytes) = &plan.pages[1].source else { panic!() };
    assert_eq!(bytes[12], 1);
}

#[test]
fn the_plan_measures_as_the_file_was_predicted() {
    let file = sample();
    for loader in [Loader::Cloister, Loader::Qemu, Loader::CloudHypervisor] {
        let planned = plan_igvm(&IgvmBoot { loader, ..boot(&file) }).unwrap();
        let predicted = measure_igvm(&file, PlatformType::SEV_SNP, loader).unwrap();
        assert_eq!(measure_snp(&planned.plan).unwrap(), predicted);
    }
    let digest = |loader| measure_igvm(&file, PlatformType::SEV_SNP, loader).unwrap().digest;
    // LDTR and TR both start at 0 here: QEMU's slip has no effect.
    assert_eq!(digest(Loader::Cloister), digest(Loader::Qemu));
    assert_eq!(digest(Loader::Cloister), digest(Loader::Igvm));
    assert_ne!(digest(Loader::Cloister), digest(Loader::CloudHypervisor));
}

#[test]
fn qemu_takes_the_base_of_tr_from_ldtr() {
    let mut cpu = CpuState::reset(0);
    cpu.tr.base = 0x5000;
    let file = file(with_pages(start()).vp_context(SNP, KVM_VMSA_GPA, 0, &vmsa_page(&cpu, 0)));
    let digest = |loader| measure_igvm(&file, PlatformType::SEV_SNP, loader).unwrap().digest;
    assert_eq!(digest(Loader::Cloister), digest(Loader::Igvm));
    assert_ne!(digest(Loader::Qemu), digest(Loader::Igvm));
}

#[test]
fn a_plain_guest_has_its_vcpus_at_reset_or_as_the_file_says() {
    let file = sample();
    let plain = IgvmBoot { platform: PlatformType::NATIVE, vcpus: Some(3), ..boot(&file) };
    let plan = plan_igvm(&plain).unwrap().plan;
    assert_eq!(plan.vcpus, vec![CpuState::reset(0x80_0f12); 3]);
    assert_eq!(plan.identity.policy, 0x7_0000);
    assert!(plan.pages.iter().all(|r| r.label != "secrets page"));
}

#[test]
fn what_kvm_would_measure_otherwise_is_refused() {
    let context = |writer: Writer| writer.vp_context(SNP, KVM_VMSA_GPA, 0, &vmsa());
    let early = || with_pages(context(start()));
    assert!(matches!(
        refused(early(), |_| ()),
        IgvmPlanError::ContextNotLast { name: "PARAMETER_INSERT", .. }
    ));
    let file = file(early());
    plan_igvm(&IgvmBoot { loader: Loader::Qemu, ..boot(&file) }).unwrap();

    let at = |gpa, index| with_pages(start()).vp_context(SNP, gpa, index, &vmsa());
    assert!(matches!(
        refused(at(0x2000, 0), |_| ()),
        IgvmPlanError::ContextAddress { found: 0x2000, wanted: KVM_VMSA_GPA, .. }
    ));
    assert!(matches!(
        refused(at(KVM_VMSA_GPA, 1), |_| ()),
        IgvmPlanError::ContextIndex { found: 1, wanted: 0, .. }
    ));
    let good = || context(with_pages(start()));
    assert!(matches!(refused(good(), |b| b.vcpus = Some(2)), IgvmPlanError::Vcpus { found: 2, wanted: 1 }));
    let other = vmsa_page(&CpuState::reset(0), 0);
    assert!(matches!(
        refused(good().vp_context(SNP, KVM_VMSA_GPA, 1, &other), |_| ()),
        IgvmPlanError::ContextFeatures { found: 0, wanted: 0x20, .. }
    ));
    assert!(matches!(
        refused(with_pages(start()).vp_context(SNP, KVM_VMSA_GPA, 0, &[0; 4096]), |_| ()),
        IgvmPlanError::Context { .. }
    ));
    assert!(matches!(refused(good(), |b| b.memory = 31 * MIB), IgvmPlanError::Machine { .. }));
    assert!(matches!(
        refused(good().required(SNP, 64 * MIB, 4096), |_| ()),
        IgvmPlanError::RequiredMemory { .. }
    ));
    assert!(matches!(refused(good(), |b| b.platform = PlatformType::TDX), IgvmPlanError::NoPlatform { .. }));
    assert!(matches!(refused(good(), |b| b.cmdline = "a\0b"), IgvmPlanError::CmdlineNul { at: 1 }));
    let madt = || start().area(0, 4096, &[]).parameter(ParameterKind::MADT, 0, 0);
    assert!(matches!(refused(madt(), |_| ()), IgvmPlanError::NoParameter { name: "MADT", .. }));
    assert!(matches!(
        refused(madt(), |b| b.madt = Some(&[0; 5000])),
        IgvmPlanError::ParameterTooLong { wanted: 5000, found: 4096, .. }
    ));
    let slit = start().area(0, 4096, &[]).parameter(ParameterKind::SLIT, 0, 0);
    assert!(matches!(refused(slit, |_| ()), IgvmPlanError::NoParameter { name: "SLIT", .. }));
    let outside = start().page(SNP, 64 * MIB, PageFlags::default(), PageDataType::NORMAL, &[]);
    assert!(matches!(refused(outside, |_| ()), IgvmPlanError::Machine { .. }));
}

/// Found by fuzzing: areas next to each other were one step of a prediction and two of a plan.
#[test]
fn a_plan_and_a_prediction_have_the_same_steps() {
    let areas = |w: Writer| {
        w.area(0, 0x2000, &[])
            .area(1, 0x1000, &[])
            .parameter(ParameterKind::MEMORY_MAP, 0, 0)
            .parameter(ParameterKind::MEMORY_MAP, 1, 0)
            .insert(SNP, 0x1000, 0)
            .insert(SNP, 0x3000, 1)
            .vp_context(SNP, KVM_VMSA_GPA, 0, &vmsa())
    };
    let file = file(areas(start()));
    let plan = plan_igvm(&boot(&file)).unwrap().plan;
    let predicted = measure_igvm(&file, PlatformType::SEV_SNP, Loader::Cloister).unwrap();
    assert_eq!(measure_snp(&plan).unwrap(), predicted);
}

#[test]
fn firmware_lies_below_4_gib_beside_the_ram() {
    let (plain, normal) = (PageFlags::default(), PageDataType::NORMAL);
    let with = |gpa| {
        start().page(SNP, gpa, plain, normal, b"volume").page(SNP, 0xffff_f000, plain, normal, b"reset")
    };
    let plan = plan_igvm(&boot(&file(with(0xffc0_0000)))).unwrap().plan;
    assert_eq!(plan.layout.firmware, Some(MemoryRange::new(0xffc0_0000, 0x40_0000)));
    assert!(matches!(refused(with(0xfee0_0000), |_| ()), IgvmPlanError::Machine { .. }));
}
