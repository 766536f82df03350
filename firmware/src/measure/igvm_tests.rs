//! Our numbers against those of the format's reference implementation, on files that it wrote.

use super::*;
use crate::measure::vmsa_page;
use crate::plan::{CpuState, IgvmPlanError, ResetRegisters};
use crate::test_files::image_of;
use ::igvm::measurement::{generate_snp_measurement, generate_tdx_measurement};
use ::igvm::snp_defs::SevVmsa;
use ::igvm::{
    Arch, IgvmDirectiveHeader as Theirs, IgvmFile as TheirFile, IgvmInitializationHeader, IgvmPlatformHeader,
    IgvmRevision,
};
use igvm_defs::{
    IGVM_VHS_PARAMETER, IGVM_VHS_PARAMETER_INSERT, IGVM_VHS_SUPPORTED_PLATFORM, IgvmPageDataFlags,
    IgvmPageDataType, IgvmPlatformType,
};
use proptest::prelude::*;
use zerocopy::FromBytes;

const SNP: u32 = 1;
const TDX: u32 = 4;
const VMSA: u64 = 0xffff_ffff_f000;

/// What a file is generated from: a page at the next address for every entry.
#[derive(Debug, Clone)]
enum Part {
    Page { mask: u32, fill: Option<u8>, unmeasured: bool, shared: bool, kind: u16 },
    Parameters { mask: u32, pages: u64 },
    Gap,
}

fn part() -> impl Strategy<Value = Part> {
    let mask = prop_oneof![Just(SNP), Just(TDX), Just(SNP | TDX)];
    let page =
        (mask.clone(), prop::option::of(any::<u8>()), any::<bool>(), prop::bool::weighted(0.2), 0u16..4)
            .prop_map(|(mask, fill, unmeasured, shared, kind)| Part::Page {
                mask,
                fill,
                unmeasured,
                shared,
                kind,
            });
    let parameters = (mask, 1u64..4).prop_map(|(mask, pages)| Part::Parameters { mask, pages });
    prop_oneof![8 => page, 2 => parameters, 1 => Just(Part::Gap)]
}

fn platform(mask: u32, kind: IgvmPlatformType) -> IgvmPlatformHeader {
    IgvmPlatformHeader::SupportedPlatform(IGVM_VHS_SUPPORTED_PLATFORM {
        compatibility_mask: mask,
        highest_vtl: 0,
        platform_type: kind,
        platform_version: 1,
        shared_gpa_boundary: 0,
    })
}

fn directives(parts: &[Part]) -> Vec<Theirs> {
    let mut all = Vec::new();
    let (mut gpa, mut index) = (0x1000, 0);
    for part in parts {
        match *part {
            Part::Page { mask, fill, unmeasured, shared, kind } => {
                all.push(Theirs::PageData {
                    gpa,
                    compatibility_mask: mask,
                    flags: IgvmPageDataFlags::new().with_unmeasured(unmeasured).with_shared(shared),
                    data_type: IgvmPageDataType(kind),
                    data: fill.map_or_else(Vec::new, |b| vec![b; 4096]),
                });
                gpa += 0x1000;
            }
            Part::Parameters { mask, pages } => {
                let number_of_bytes = pages * 4096;
                all.push(Theirs::ParameterArea {
                    number_of_bytes,
                    parameter_area_index: index,
                    initial_data: vec![],
                });
                all.push(Theirs::VpCount(IGVM_VHS_PARAMETER { parameter_area_index: index, byte_offset: 8 }));
                all.push(Theirs::ParameterInsert(IGVM_VHS_PARAMETER_INSERT {
                    gpa,
                    compatibility_mask: mask,
                    parameter_area_index: index,
                }));
                index += 1;
                gpa += number_of_bytes;
            }
            Part::Gap => gpa += 0x5000,
        }
    }
    all
}

fn vp_context(gpa: u64, vp_index: u16, cpu: &CpuState) -> Theirs {
    let page = vmsa_page(cpu, 0);
    let vmsa = Box::new(SevVmsa::read_from_bytes(&page).unwrap());
    Theirs::SnpVpContext { gpa, compatibility_mask: SNP, vp_index, vmsa }
}

/// The file in their memory and in ours.
fn both(v2: bool, directives: Vec<Theirs>) -> (TheirFile, IgvmFile) {
    let revision = if v2 { IgvmRevision::V2 { arch: Arch::X64, page_size: 4096 } } else { IgvmRevision::V1 };
    let platforms = vec![platform(SNP, IgvmPlatformType::SEV_SNP), platform(TDX, IgvmPlatformType::TDX)];
    let policy = vec![IgvmInitializationHeader::GuestPolicy { policy: 0x3_0000, compatibility_mask: SNP }];
    let theirs = TheirFile::new(revision, platforms, policy, directives).unwrap();
    let mut bytes = Vec::new();
    theirs.serialize(&mut bytes).unwrap();
    let ours = IgvmFile::read(image_of(&bytes)).unwrap();
    (theirs, ours)
}

fn their_snp(file: &TheirFile) -> Digest384 {
    Digest384(generate_snp_measurement(file.initializations(), file.directives(), SNP).unwrap())
}

fn our_snp(file: &IgvmFile, loader: Loader) -> Digest384 {
    measure_igvm(file, PlatformType::SEV_SNP, loader).unwrap().digest
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn digests_are_those_of_the_reference(
        parts in prop::collection::vec(part(), 1..24),
        v2: bool,
        svsm: bool,
        vcpus in 1u16..3,
        rip: u32,
    ) {
        let mut all = directives(&parts);
        let mut cpu = CpuState { rip: rip.into(), ..CpuState::reset(rip) };
        if svsm {
            // As coconut-svsm's builder leaves it: RAX says the platform, what a reset sets is zero.
            cpu.general.rax = 2;
            cpu.reset = ResetRegisters { dr6: 0, dr7: 0, mxcsr: 0, fcw: 0, ..cpu.reset };
        }
        all.extend((0..vcpus).map(|i| vp_context(VMSA, i, &cpu)));
        let (theirs, ours) = both(v2, all);
        let expected = their_snp(&theirs);
        prop_assert_eq!(our_snp(&ours, Loader::Igvm), expected);
        prop_assert_eq!(our_snp(&ours, Loader::Cloister), expected);
        prop_assert_eq!(our_snp(&ours, Loader::Qemu), expected);

        let mrtd = Digest384(generate_tdx_measurement(theirs.directives(), TDX).unwrap());
        let tdx = measure_igvm(&ours, PlatformType::TDX, Loader::Cloister).unwrap();
        prop_assert_eq!(tdx.digest, mrtd);
        prop_assert_eq!(tdx.stages.last().map_or(mrtd, |s| s.digest_after), mrtd);
    }
}

#[test]
fn a_file_for_others_is_measured_as_it_stands() {
    // The state of the vCPU first, on a page of its own: Hyper-V would, KVM could not.
    let mut all = vec![vp_context(0x9000, 0, &CpuState::reset(1))];
    let page = Part::Page { mask: SNP, fill: Some(1), unmeasured: false, shared: false, kind: 0 };
    all.extend(directives(&[page]));
    let (theirs, ours) = both(true, all);
    assert_eq!(our_snp(&ours, Loader::Igvm), their_snp(&theirs));
    let refused = measure_igvm(&ours, PlatformType::SEV_SNP, Loader::Cloister);
    assert!(matches!(refused, Err(IgvmMeasureError::Plan { source: IgvmPlanError::ContextNotLast { .. } })));
}

#[test]
fn the_reference_reads_what_we_write() {
    use crate::igvm::write::Writer;
    use crate::igvm::{PageDataType, PageFlags, ParameterKind};
    for version in [1, 2] {
        let bytes = Writer::new(version)
            .platform(SNP, PlatformType::SEV_SNP)
            .platform(TDX, PlatformType::TDX)
            .policy(SNP, 0x3_0000)
            .required(SNP | TDX, 0x80_0000, 0x1000)
            .area(3, 0x2000, b"first contents")
            .parameter(ParameterKind::MEMORY_MAP, 3, 0)
            .insert(SNP | TDX, 0x1000, 3)
            .page(SNP | TDX, 0x9000, PageFlags::default(), PageDataType::NORMAL, b"code")
            .page(SNP, 0xa000, PageFlags::UNMEASURED, PageDataType::NORMAL, &[])
            .vp_context(SNP, VMSA, 0, &vmsa_page(&CpuState::reset(7), 0))
            .build();
        let theirs = TheirFile::new_from_binary(&bytes, None).unwrap();
        let ours = IgvmFile::read(image_of(&bytes)).unwrap();
        assert_eq!(our_snp(&ours, Loader::Cloister), their_snp(&theirs));
    }
}

#[test]
fn other_platforms_have_no_measurement() {
    let (_, ours) = both(
        false,
        directives(&[Part::Page { mask: SNP, fill: Some(3), unmeasured: false, shared: false, kind: 0 }]),
    );
    assert!(matches!(
        measure_igvm(&ours, PlatformType::NATIVE, Loader::Igvm),
        Err(IgvmMeasureError::Platform { .. })
    ));
    assert!(matches!(
        measure_igvm(&ours, PlatformType::SEV_SNP, Loader::Igvm),
        Ok(Measurement { stages, .. }) if stages.len() == 1
    ));
}
