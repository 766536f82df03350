use super::defs::{MAX_HEADER_BYTES, OPTIONAL, kind};
use super::write::{Writer, seal};
use super::*;
use crate::test_files::image_of;
use proptest::prelude::*;

const SNP: u32 = 1;
const TDX: u32 = 4;
const NORMAL: PageDataType = PageDataType::NORMAL;

fn plain() -> PageFlags {
    PageFlags::default()
}

/// Every kind of header once.
fn sample(version: u32) -> Writer {
    Writer::new(version)
        .platform(SNP, PlatformType::SEV_SNP)
        .platform(TDX, PlatformType::TDX)
        .policy(SNP, 0x30000)
        .required(SNP | TDX, 0x80_0000, 0x10_0000)
        .area(0, 0x1000, &[])
        .area(7, 0x2000, b"initial")
        .parameter(ParameterKind::VP_COUNT, 0, 0)
        .parameter(ParameterKind::ENVIRONMENT_INFO, 0, 4)
        .parameter(ParameterKind::MEMORY_MAP, 7, 0)
        .insert(SNP | TDX, 0x1000, 7)
        .insert(SNP, 0x3000, 0)
        .page(SNP | TDX, 0x10_0000, plain(), NORMAL, b"code")
        .page(SNP | TDX, 0x10_1000, plain(), NORMAL, &[])
        .page(SNP, 0x10_2000, plain(), PageDataType::SECRETS, &[])
        .page(SNP, 0x10_3000, plain(), PageDataType::CPUID_DATA, &[])
        .page(TDX, 0x10_2000, PageFlags::UNMEASURED, NORMAL, b"x")
        .page(SNP, 0x20_0000, PageFlags::SHARED, NORMAL, b"y")
        .vp_context(SNP, KVM_VMSA_GPA, 0, &[0; 4096])
}

fn read(bytes: &[u8]) -> Result<IgvmFile, IgvmError> {
    IgvmFile::read(image_of(bytes))
}

fn refused(writer: Writer) -> IgvmError {
    read(&writer.build()).unwrap_err()
}

/// A file for SNP with these headers.
fn snp(with: impl FnOnce(Writer) -> Writer) -> IgvmError {
    refused(with(Writer::new(2).platform(SNP, PlatformType::SEV_SNP)))
}

#[test]
fn both_versions_are_read() {
    for version in [1, 2] {
        let file = read(&sample(version).build()).unwrap();
        assert_eq!(file.fixed().version, version);
        assert_eq!((file.platforms().len(), file.directives().len()), (2, 15));
        let snp = *file.platform(PlatformType::SEV_SNP).unwrap();
        assert_eq!((snp.mask, file.policy(&snp)), (SNP, Some(0x30000)));
        assert_eq!(file.directives_for(&snp).count(), 14);
        let tdx = *file.platform(PlatformType::TDX).unwrap();
        assert_eq!((file.policy(&tdx), file.directives_for(&tdx).count()), (None, 10));
        assert!(file.platform(PlatformType::NATIVE).is_none());
        let Directive::ParameterInsert { bytes, .. } = file.directives()[6].body else { panic!() };
        assert_eq!(bytes, 0x2000);
    }
}

#[test]
fn a_fixed_header_that_is_wrong_is_refused_by_its_field() {
    let good = sample(2).build();
    let with = |at: usize, value: u32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        read(&bytes).unwrap_err()
    };
    assert!(matches!(with(0, 7), IgvmError::Magic { found: 7 }));
    assert!(matches!(with(4, 3), IgvmError::Version { found: 3 }));
    assert!(matches!(with(8, 24), IgvmError::HeaderOffset { found: 24, wanted: 32 }));
    assert!(matches!(with(8, 33), IgvmError::HeaderOffset { found: 33, .. }));
    assert!(matches!(with(12, MAX_HEADER_BYTES + 8), IgvmError::HeadersTooLong { .. }));
    assert!(matches!(with(12, 0x10_0000), IgvmError::HeaderSize { found: 0x10_0000, offset: 32, .. }));
    assert!(matches!(with(12, 12), IgvmError::HeaderSize { .. }));
    assert!(matches!(with(16, 0), IgvmError::TotalSize { wanted: 0, .. }));
    assert!(matches!(with(20, 1), IgvmError::Checksum { found: 1, .. }));
    assert!(matches!(with(24, 1), IgvmError::Architecture { found: 1 }));
    assert!(matches!(with(28, 0x4000), IgvmError::PageSize { found: 0x4000 }));
    assert!(matches!(with(36, 1), IgvmError::Checksum { .. }));
    assert!(matches!(read(&good[..20]), Err(IgvmError::TooShort { found: 20, wanted: 24 })));
    assert!(matches!(read(&good[..28]), Err(IgvmError::TooShort { found: 28, wanted: 32 })));
    assert!(matches!(read(&good[..good.len() - 1]), Err(IgvmError::TotalSize { .. })));
}

#[test]
fn variable_headers_stand_in_their_order_and_their_area() {
    let platform = |w: Writer| w.platform(2, PlatformType::NATIVE);
    assert!(matches!(
        snp(|w| platform(w.policy(SNP, 0))),
        IgvmError::OutOfOrder { found: "platform", wanted: "initialization", .. }
    ));
    assert!(matches!(
        snp(|w| w.required(SNP, 0, 0x1000).policy(SNP, 0)),
        IgvmError::OutOfOrder { found: "initialization", wanted: "directive", offset: 0x58, .. }
    ));
    assert!(matches!(refused(Writer::new(1)), IgvmError::NoPlatform));
    assert!(matches!(snp(|w| w.raw(0x3ff, &[])), IgvmError::UnknownType { found: 0x3ff, offset: 0x38 }));
    assert!(matches!(snp(|w| w.raw(0x206, &[])), IgvmError::UnknownType { found: 0x206, .. }));
    assert!(matches!(snp(|w| w.raw(0x306, &[])), IgvmError::UnknownType { found: 0x306, .. }));
    assert!(matches!(refused(Writer::new(1).raw(2, &[])), IgvmError::UnknownType { found: 2, offset: 24 }));
    let error = snp(|w| w.raw(kind::PAGE_DATA, &[0; 23]));
    assert!(matches!(error, IgvmError::Length { name: "PAGE_DATA", found: 23, wanted: 24, .. }));

    let mut bytes = sample(1).build();
    // The length of the first header.
    bytes[28..32].copy_from_slice(&0x1000u32.to_le_bytes());
    seal(&mut bytes);
    assert!(matches!(read(&bytes), Err(IgvmError::Truncated { offset: 24, wanted: 0x1008, .. })));
    bytes[28..32].copy_from_slice(&u32::MAX.to_le_bytes());
    seal(&mut bytes);
    assert!(matches!(read(&bytes), Err(IgvmError::Truncated { offset: 24, .. })));

    let mut bytes = sample(1).build();
    // Behind the 20 bytes of VP_CONTEXT, the last header.
    let end = 24 + u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    bytes[end - 2] = 9;
    seal(&mut bytes);
    assert!(matches!(read(&bytes), Err(IgvmError::Padding { found: 9, .. })));
}

#[test]
fn what_is_optional_and_unknown_is_passed_over() {
    let bytes = Writer::new(2)
        .platform(SNP, PlatformType::SEV_SNP)
        .raw(0x1234 | OPTIONAL, &[1, 2, 3])
        .raw(0x80 | OPTIONAL, &[])
        .raw(0x1ff | OPTIONAL, &[1])
        .raw(0x400 | OPTIONAL, &[1; 9])
        .build();
    let file = read(&bytes).unwrap();
    assert_eq!(file.initializations()[0].body, Initialization::Passed { kind: 0x1ff, len: 1 });
    assert_eq!(file.directives()[0].body, Directive::Passed { kind: 0x400, len: 9 });
}

#[test]
fn platforms_and_masks_are_checked() {
    let one = |payload: &[u8]| refused(Writer::new(2).raw(kind::SUPPORTED_PLATFORM, payload));
    let field = |error| match error {
        IgvmError::Platform { field, found, .. } => (field, found),
        other => panic!("{other}"),
    };
    assert!(matches!(one(&[0; 16]), IgvmError::Mask { found: 0, .. }));
    assert!(matches!(
        one(&[3, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        IgvmError::Mask { found: 3, .. }
    ));
    let vtl = one(&[1, 0, 0, 0, 1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(field(vtl), ("highest_vtl", 1));
    assert_eq!(field(one(&[1, 0, 0, 0, 0, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])), ("platform_type", 9));
    assert_eq!(field(one(&[1, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0])), ("platform_version", 2));
    let boundary = one(&[1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(field(boundary), ("shared_gpa_boundary", 1));
    assert!(matches!(
        snp(|w| w.platform(2, PlatformType::SEV_SNP)),
        IgvmError::PlatformTwice { found: PlatformType::SEV_SNP, first: 0x20, .. }
    ));
    assert!(matches!(snp(|w| w.platform(SNP, PlatformType::TDX)), IgvmError::Mask { found: SNP, .. }));
    assert!(matches!(snp(|w| w.policy(2, 0)), IgvmError::Mask { name: "GUEST_POLICY", found: 2, .. }));
    assert!(matches!(snp(|w| w.policy(1, 0).policy(1, 0)), IgvmError::PolicyTwice { .. }));
    assert!(matches!(snp(|w| w.required(0, 0, 0x1000)), IgvmError::Mask { found: 0, .. }));
    assert!(matches!(
        snp(|w| w.page(3, 0, plain(), NORMAL, &[])),
        IgvmError::Mask { name: "PAGE_DATA", found: 3, .. }
    ));
}

#[test]
fn pages_are_checked() {
    let page = |gpa, flags, of| snp(|w| w.page(SNP, gpa, PageFlags(flags), PageDataType(of), &[]));
    assert!(matches!(page(1, 0, 0), IgvmError::Unaligned { field: "gpa", found: 1, .. }));
    assert!(matches!(page(1 << 52, 0, 0), IgvmError::Address { .. }));
    assert!(matches!(page(!4095, 0, 0), IgvmError::Address { .. }));
    assert!(matches!(page(0, 1, 0), IgvmError::LargePage { .. }));
    assert!(matches!(page(0, 8, 0), IgvmError::Reserved { field: "flags", found: 8, .. }));
    assert!(matches!(page(0, 0, 4), IgvmError::DataType { found: PageDataType(4), .. }));
    assert!(matches!(
        snp(|w| w.required(SNP, 0, 1)),
        IgvmError::Unaligned { field: "number_of_bytes", found: 1, .. }
    ));
    let twice =
        |w: Writer| w.page(SNP, 0x5000, plain(), NORMAL, &[]).page(SNP, 0x5000, plain(), NORMAL, b"x");
    assert!(matches!(
        snp(twice),
        IgvmError::Overlap { found: 0x5000, first: 0x38, offset: 0x58, platform: PlatformType::SEV_SNP, .. }
    ));
    let in_area =
        |w: Writer| w.area(0, 0x3000, &[]).insert(SNP, 0x4000, 0).page(SNP, 0x6000, plain(), NORMAL, &[]);
    assert!(matches!(snp(in_area), IgvmError::Overlap { name: "PAGE_DATA", found: 0x6000, .. }));
    // The same address for different platforms is what masks are for: `both_versions_are_read`.
}

#[test]
fn data_lies_behind_the_headers() {
    let page_at = |at: u32| {
        let mut payload = [0; 24];
        payload[8] = 1;
        payload[12..16].copy_from_slice(&at.to_le_bytes());
        snp(|w| w.raw(kind::PAGE_DATA, &payload).page(SNP, 0x1000, plain(), NORMAL, b"data"))
    };
    let data = 0x20 + 24 + 32 + 32;
    for at in [1, data - 1, data + 1, u32::MAX] {
        let error = page_at(at);
        assert!(matches!(error, IgvmError::DataRange { found, .. } if found == u64::from(at)), "{error}");
    }
    // One byte of data is enough for a list of registers, but not for a VMSA.
    let mut context = [0; 20];
    context[8] = 1;
    context[12] = 0x20 + 24 + 32;
    let mut bytes =
        Writer::new(2).platform(SNP, PlatformType::SEV_SNP).raw(kind::VP_CONTEXT, &context).build();
    bytes.push(0);
    let len = bytes.len() as u32;
    bytes[16..20].copy_from_slice(&len.to_le_bytes());
    seal(&mut bytes);
    assert!(matches!(read(&bytes), Err(IgvmError::DataRange { name: "VP_CONTEXT", len: 4096, .. })));
}

#[test]
fn parameter_areas_are_declared_used_and_inserted_once() {
    assert!(matches!(snp(|w| w.area(0, 0, &[])), IgvmError::AreaSize { found: 0, .. }));
    assert!(matches!(snp(|w| w.area(0, 1, &[])), IgvmError::Unaligned { .. }));
    assert!(matches!(snp(|w| w.area(0, 1 << 40, &[])), IgvmError::AreaSize { .. }));
    assert!(matches!(snp(|w| w.area(0, !4095, &[])), IgvmError::AreaSize { .. }));
    let both = |w: Writer| w.area(0, 12 << 20, &[]).area(1, 12 << 20, &[]);
    assert!(matches!(snp(both), IgvmError::AreaSize { .. }));
    assert!(matches!(
        snp(|w| w.area(3, 4096, &[]).area(3, 4096, &[])),
        IgvmError::AreaTwice { found: 3, .. }
    ));
    assert!(matches!(
        snp(|w| w.parameter(ParameterKind::MADT, 0, 0)),
        IgvmError::AreaUnknown { name: "MADT", found: 0, .. }
    ));
    assert!(matches!(snp(|w| w.insert(SNP, 0, 9)), IgvmError::AreaUnknown { found: 9, .. }));
    let inserted = |w: Writer| w.area(0, 4096, &[]).insert(SNP, 0x1000, 0);
    assert!(matches!(
        snp(|w| inserted(w).insert(SNP, 0x2000, 0)),
        IgvmError::AreaInserted { name: "PARAMETER_INSERT", .. }
    ));
    assert!(matches!(
        snp(|w| inserted(w).parameter(ParameterKind::VP_COUNT, 0, 0)),
        IgvmError::AreaInserted { name: "VP_COUNT_PARAMETER", .. }
    ));
    assert!(matches!(
        snp(|w| w.area(0, 4096, &[]).parameter(ParameterKind::VP_COUNT, 0, 4093)),
        IgvmError::ParameterRange { found: 4093, least: 4, size: 4096, .. }
    ));
    assert!(matches!(
        snp(|w| w.area(0, 8192, &[]).insert(SNP, (1 << 52) - 4096, 0)),
        IgvmError::Address { name: "PARAMETER_INSERT", .. }
    ));
}

#[test]
fn vcpu_states_are_for_platforms_that_have_them_and_once() {
    let tdx = Writer::new(2).platform(TDX, PlatformType::TDX).vp_context(TDX, 0, 0, &[0]);
    assert!(matches!(refused(tdx), IgvmError::ContextPlatform { found: PlatformType::TDX, .. }));
    assert!(matches!(
        snp(|w| w.vp_context(SNP, 0, 3, &[0]).vp_context(SNP, 0x1000, 3, &[0])),
        IgvmError::ContextTwice { found: 3, .. }
    ));
}

#[test]
fn an_id_block_is_packed_as_the_platform_wants_it() {
    let mut payload = [0u8; 696];
    for (i, byte) in payload.iter_mut().enumerate() {
        *byte = (i % 251) as u8;
    }
    for (at, bytes) in
        [(0, &[1, 0, 0, 0, 1, 0, 0, 0][..]), (88, &1u32.to_le_bytes()), (252, &[0; 4]), (548, &[0; 4])]
    {
        payload[at..at + bytes.len()].copy_from_slice(bytes);
    }
    let file = |payload: &[u8]| {
        read(&Writer::new(2).platform(SNP, PlatformType::SEV_SNP).raw(kind::SNP_ID_BLOCK, payload).build())
    };
    let parsed = file(&payload).unwrap();
    let on = *parsed.platform(PlatformType::SEV_SNP).unwrap();
    let packed = parsed.id_block(&on).unwrap().pack(0x3_0000);
    assert!(packed.author_key_enabled);
    // coco.md 2.9.
    assert_eq!(packed.block[..48], payload[8..56]);
    assert_eq!(packed.block[48..80], payload[56..88]);
    assert_eq!(packed.block[80..88], payload[88..96]);
    assert_eq!(packed.block[88..], 0x3_0000u64.to_le_bytes());
    let auth = &packed.auth;
    assert_eq!((&auth[..4], &auth[4..8]), (&payload[96..100], &payload[100..104]));
    assert_eq!(auth[64..208], payload[104..248]);
    assert_eq!((&auth[576..580], &auth[580..724]), (&payload[248..252], &payload[256..400]));
    assert_eq!(auth[1664..1808], payload[400..544]);
    assert_eq!((&auth[2176..2180], &auth[2180..2324]), (&payload[544..548], &payload[552..696]));
    let used: usize = [4, 4, 144, 148, 144, 148].iter().sum();
    assert!(auth.iter().filter(|b| **b == 0).count() >= 4096 - used);

    payload[4] = 0;
    let packed = file(&payload).unwrap().id_block(&on).unwrap().pack(0);
    assert!(!packed.author_key_enabled && packed.auth[4..8] == [0; 4]);
    assert!(packed.auth[1664..].iter().all(|b| *b == 0));

    let refused = |at: usize, value: u8| {
        let mut payload = payload;
        payload[at] = value;
        file(&payload).unwrap_err()
    };
    assert!(matches!(refused(4, 2), IgvmError::Reserved { found: 2, .. }));
    assert!(matches!(refused(6, 1), IgvmError::Reserved { field: "reserved", .. }));
    assert!(matches!(refused(252, 1), IgvmError::Reserved { field: "reserved of a key", .. }));
    assert!(matches!(refused(88, 2), IgvmError::IdBlockVersion { found: 2, .. }));
    let twice = Writer::new(2)
        .platform(SNP, PlatformType::SEV_SNP)
        .raw(kind::SNP_ID_BLOCK, &payload)
        .raw(kind::SNP_ID_BLOCK, &payload);
    assert!(matches!(read(&twice.build()), Err(IgvmError::IdBlockTwice { .. })));
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(
        changes in prop::collection::vec((0usize..600, any::<u8>()), 1..6),
        version in 1u32..3,
    ) {
        let mut bytes = sample(version).build();
        for (at, value) in changes {
            bytes[at] = value;
        }
        seal(&mut bytes);
        if let Err(error) = read(&bytes) {
            let text = error.to_string();
            prop_assert!(!text.is_empty() && !text.contains('\n'));
        }
    }

    #[test]
    fn whatever_follows_igvm_is_judged_quietly(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
        let _ = read(&[b"IGVM\x02\0\0\0".to_vec(), bytes].concat());
    }
}
