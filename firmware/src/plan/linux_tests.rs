use super::*;
use crate::linux::KernelError;
use crate::measure::measure_snp;
use crate::test_files::{ElfBuilder, bzimage, image_of};
use proptest::prelude::*;

fn boot(kernel: &[u8]) -> LinuxBoot {
    LinuxBoot {
        kernel: image_of(kernel),
        initrd: Some(image_of(&[b'i'; 5000])),
        cmdline: "console=ttyS0".to_owned(),
        memory: 64 << 20,
        vcpus: 2,
        signature: 0xa0_0f11,
        acpi: b"RSD PTR ".to_vec(),
        identity: Identity::default(),
        initial: InitialPrivacy::Shared,
        snp_pages: SnpPages::Reserved,
        c_bit: None,
    }
}

fn vmlinux() -> Vec<u8> {
    ElfBuilder::new(0x100_0000)
        .load(0x100_0000, &[0x90; 0x1800], 0x1800, true)
        .load(0x100_2000, b"data", 0x5000, false)
        .note(b"Xen\0", 18, &0x100_0010u32.to_le_bytes())
        .build()
}

fn runs(plan: &LaunchPlan) -> Vec<(&'static str, u64, u64, PageKind)> {
    plan.pages.iter().map(|r| (r.label, r.gpa, r.pages, r.kind)).collect()
}

fn page(plan: &LaunchPlan, label: &str) -> [u8; 4096] {
    let run = plan.pages.iter().find(|r| r.label == label).unwrap();
    let mut page = [0; 4096];
    run.read(0, &mut page).unwrap();
    page
}

fn refused(change: impl FnOnce(&mut LinuxBoot)) -> PlanError {
    let mut boot = boot(&bzimage(b"code"));
    change(&mut boot);
    plan_linux(boot).unwrap_err()
}

#[test]
fn a_bzimage_is_planned_in_order() {
    use PageKind::*;
    let plan = plan_linux(boot(&bzimage(b"code"))).unwrap();
    assert_eq!(
        runs(&plan),
        [
            ("GDT", 0x1000, 1, Measured),
            ("page tables", 0x9000, 6, Measured),
            ("boot_params", 0x2000, 1, Measured),
            ("command line", 0x3000, 1, Measured),
            ("ACPI tables", 0xe_0000, 1, Measured),
            ("BIOS entry (resets)", 0xf_f000, 1, Measured),
            ("first stack", 0x1_f000, 1, Zero),
            ("kernel", 0x100_0000, 1, Measured),
            ("initrd", 0x3ff_e000, 2, Measured),
            ("secrets page", 0x9_d000, 1, Secrets),
            ("CPUID page", 0x9_e000, 1, Cpuid),
        ]
    );
    assert_eq!(&page(&plan, "command line")[..14], b"console=ttyS0\0");
    assert_eq!(&page(&plan, "kernel")[0x200..0x205], b"code\0");
}

#[test]
fn boot_params_tell_what_the_plan_did() {
    let plan = plan_linux(boot(&bzimage(b"code"))).unwrap();
    let p = page(&plan, "boot_params");
    let u32_at = |at: usize| u32::from_le_bytes(p[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(p[at..at + 8].try_into().unwrap());
    assert_eq!(&p[0x202..0x206], b"HdrS");
    assert_eq!(p[0x210], 0xff);
    assert_eq!((u32_at(0x218), u32_at(0x21c)), (0x3ff_e000, 5000));
    assert_eq!((u32_at(0x228), u64_at(0x70), u64_at(0x250)), (0x3000, 0xe_0000, 0));
    assert_eq!(p[0x1ef], 0, "sentinel");
    let e820: Vec<_> = (0..usize::from(p[0x1e8]))
        .map(|i| (u64_at(0x2d0 + i * 20), u64_at(0x2d8 + i * 20), u32_at(0x2e0 + i * 20)))
        .collect();
    assert_eq!(
        e820,
        [
            (0, 0x9_d000, 1),
            (0x9_d000, 0x2000, 2),
            (0x9_f000, 0xc00, 1),
            (0x9_fc00, 0x400, 2),
            (0xe_0000, 0x2_0000, 2),
            (0x10_0000, 0x3f0_0000, 1),
            (0xe000_0000, 0x1000_0000, 2),
        ]
    );
}

#[test]
fn an_announced_cc_blob_is_pointed_to() {
    let plan = plan_linux(LinuxBoot { snp_pages: SnpPages::Announced, ..boot(&bzimage(b"code")) }).unwrap();
    assert_eq!(page(&plan, "boot_params")[0x250..0x258], 0x7000u64.to_le_bytes());
    assert_eq!(page(&plan, "cc_blob")[8..12], [7, 0, 0, 0]);
    let absent = plan_linux(LinuxBoot { snp_pages: SnpPages::Absent, ..boot(&bzimage(b"code")) }).unwrap();
    assert!(absent.pages.iter().all(|r| !matches!(r.kind, PageKind::Secrets | PageKind::Cpuid)));
}

#[test]
fn a_bzimage_is_entered_in_long_mode() {
    let plan = plan_linux(boot(&bzimage(b"code"))).unwrap();
    let [bsp, ap] = &plan.vcpus[..] else { panic!("two vCPUs") };
    assert_eq!((bsp.rip, bsp.rsi, bsp.cr3), (0x100_0200, 0x2000, 0x9000));
    assert_eq!((bsp.cr0, bsp.cr4, bsp.efer), (0x8000_0031, 0x20, 0x500));
    assert_eq!((bsp.cs.selector, bsp.cs.attributes, bsp.ss.selector), (0x10, 0xa9b, 0x18));
    assert_eq!(ap, &CpuState::reset(0xa0_0f11));
}

#[test]
fn a_vmlinux_is_entered_through_pvh() {
    use PageKind::*;
    let plan = plan_linux(boot(&vmlinux())).unwrap();
    assert_eq!(
        runs(&plan)[..9],
        [
            ("GDT", 0x1000, 1, Measured),
            ("PVH start info", 0x2000, 1, Measured),
            ("command line", 0x3000, 1, Measured),
            ("ACPI tables", 0xe_0000, 1, Measured),
            ("BIOS entry (resets)", 0xf_f000, 1, Measured),
            ("first stack", 0x1_f000, 1, Zero),
            ("kernel", 0x100_0000, 2, Measured),
            ("kernel", 0x100_2000, 1, Measured),
            ("kernel BSS", 0x100_3000, 4, Zero),
        ]
    );
    let bsp = &plan.vcpus[0];
    assert_eq!((bsp.rip, bsp.rbx, bsp.cr0, bsp.efer), (0x100_0010, 0x2000, 0x11, 0));
    assert_eq!((bsp.cs.attributes, bsp.ds.attributes), (0xc9b, 0xc93));
    let announced = LinuxBoot { snp_pages: SnpPages::Announced, ..boot(&vmlinux()) };
    assert!(matches!(plan_linux(announced), Err(PlanError::AnnounceNeedsBzImage { .. })));
}

#[test]
fn the_initrd_lies_as_high_as_it_may() {
    let place = |memory: u64, kernel: Vec<u8>| {
        let plan = plan_linux(LinuxBoot { memory, ..boot(&kernel) }).unwrap();
        plan.pages.iter().find(|r| r.label == "initrd").unwrap().gpa
    };
    assert_eq!(place(1 << 30, bzimage(b"x")), (1 << 30) - 0x2000);
    assert_eq!(place(8 << 30, bzimage(b"x")), 0x8000_0000 - 0x2000, "initrd_addr_max");
    assert_eq!(place(8 << 30, vmlinux()), GuestLayout::LOW_RAM_END - 0x2000);
    // initrd_addr_max that ends within a page.
    let mut odd = bzimage(b"x");
    odd[0x22c..0x230].copy_from_slice(&0x200_0800u32.to_le_bytes());
    assert_eq!(place(1 << 30, odd), 0x1ff_e000);
}

#[test]
fn the_same_input_measures_the_same_and_every_input_counts() {
    let digest = |b| measure_snp(&plan_linux(b).unwrap()).unwrap().digest;
    let kernel = bzimage(b"code");
    let base = digest(boot(&kernel));
    assert_eq!(digest(boot(&kernel)), base);
    for other in [
        LinuxBoot { cmdline: "console=ttyS1".to_owned(), ..boot(&kernel) },
        LinuxBoot { kernel: image_of(&bzimage(b"codf")), ..boot(&kernel) },
        LinuxBoot { initrd: Some(image_of(&[b'j'; 5000])), ..boot(&kernel) },
        LinuxBoot { initrd: None, ..boot(&kernel) },
        LinuxBoot { memory: 65 << 20, ..boot(&kernel) },
        LinuxBoot { vcpus: 1, ..boot(&kernel) },
        LinuxBoot { acpi: b"RSD PTR!".to_vec(), ..boot(&kernel) },
        LinuxBoot { snp_pages: SnpPages::Announced, ..boot(&kernel) },
        LinuxBoot { c_bit: Some(51), ..boot(&kernel) },
    ] {
        assert_ne!(digest(other), base);
    }
}

#[test]
fn what_cannot_be_planned_is_refused_with_a_reason() {
    assert!(matches!(
        refused(|b| b.cmdline = "x".repeat(2048)),
        PlanError::CmdlineTooLong { len: 2048, max: 2047 }
    ));
    assert!(matches!(refused(|b| b.cmdline = "a\0b".to_owned()), PlanError::CmdlineNul { at: 1 }));
    assert!(matches!(refused(|b| b.memory = 0), PlanError::MemoryTooSmall { .. }));
    assert!(matches!(refused(|b| b.vcpus = 255), PlanError::Vcpus { .. }));
    assert!(matches!(refused(|b| b.acpi = vec![0; 0x2_0001]), PlanError::AcpiTooLong { .. }));
    let huge = image_of(&vec![0; (48 << 20) + 1]);
    assert!(matches!(refused(|b| b.initrd = Some(huge)), PlanError::InitrdTooLarge { .. }));
    let gzip = image_of(b"\x1f\x8b\x08");
    let err = refused(|b| b.kernel = gzip);
    assert!(matches!(err, PlanError::Kernel { source: KernelError::NotAKernel { .. }, .. }));
    assert!(err.to_string().starts_with("cannot boot test image: it is a gzip file"), "{err}");

    let mut big = bzimage(b"x");
    big[0x260..0x264].copy_from_slice(&0x400_0000u32.to_le_bytes());
    let err = refused(|b| b.kernel = image_of(&big));
    assert!(matches!(err, PlanError::KernelDoesNotFit { end: 0x500_0000, .. }));
    assert!(err.to_string().contains("at least 80 MiB"), "{err}");
    // A kernel that would be loaded over the end of all addresses below 4 GiB.
    big[0x258..0x260].copy_from_slice(&(1u64 << 40).to_le_bytes());
    assert!(matches!(refused(|b| b.kernel = image_of(&big)), PlanError::KernelDoesNotFit { .. }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn no_kernel_makes_the_planner_panic(
        pvh in any::<bool>(),
        memory_mib in 32u64..4200,
        cut in 1usize..0x6000,
        changes in prop::collection::vec((0usize..0x290, any::<u8>()), 0..6),
    ) {
        let mut bytes = if pvh { vmlinux() } else { bzimage(b"code") };
        for (at, value) in changes {
            bytes[at] = value;
        }
        // Half of the files are whole.
        bytes.truncate(if cut < 0x3000 { cut } else { usize::MAX });
        if let Ok(plan) = plan_linux(LinuxBoot { memory: memory_mib << 20, ..boot(&bytes) }) {
            plan.check().unwrap();
        }
    }

    #[test]
    fn an_initrd_lies_between_the_kernel_and_its_limit_or_nowhere(
        len in 1u64..(5 << 30),
        kernel_end in 0u64..(5 << 30),
        limit in 0u64..(5 << 30),
        memory_mib in 32u64..8192,
    ) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        let initrd = ImageFile::from_file(file, "sparse").unwrap();
        let layout = GuestLayout::new(memory_mib << 20);
        match place_initrd(Some(&initrd), kernel_end, limit, &layout) {
            Ok(place) => {
                let place = place.unwrap();
                prop_assert!(place.start >= kernel_end && place.start % 4096 == 0 && place.size == len);
                prop_assert!(place.end().next_multiple_of(4096) <= limit.min(layout.low_ram_end()));
            }
            Err(_) => prop_assert!(kernel_end + len + 2 * 4096 > limit.min(layout.low_ram_end())),
        }
    }
}
