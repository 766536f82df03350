use super::*;
use crate::plan::{CpuState, GuestLayout, Identity, InitialPrivacy, Source};
use std::io::Write;
use std::sync::Arc;

fn one(kind: PageKind, gpa: u64, contents: &[u8; 4096]) -> String {
    let mut digest = SnpDigest::new();
    digest.update(kind, gpa, contents);
    digest.value().to_string()
}

/// The vectors of coco.md 4.1: one page from a digest of nothing.
#[test]
fn single_pages_match_the_vectors() {
    let junk = [0xa5; 4096];
    assert_eq!(
        one(PageKind::Zero, 0x80_0000, &junk),
        "4472405c6dbc65e5629805f2be1b3df74eb119841eff12466c24f43e67083c23df5e645b2742b6d9aa0f943e095cebaa"
    );
    assert_eq!(
        one(PageKind::Unmeasured, 0x1000, &junk),
        "81475a112c0223cebe1ccb31a0aa2567772871200b33515a3cbbd5ed6a68a8e630902dd83469ea6553554bfb67111fad"
    );
    assert_eq!(
        one(PageKind::Secrets, 0x80_d000, &junk),
        "e82e99caf82a32c31ec5070eef9e2135866d8f7de60d756814f3bd8c989c1e826622e0a97dad026c6d9d81818780e6a2"
    );
    assert_eq!(
        one(PageKind::Cpuid, 0x80_e000, &junk),
        "c9e46442d2b4ddb823fa6b4a907930de7e93901180c5a3126ba234193059a0a51a21ba82f05d2fe0f3136f22b1b1a8e4"
    );
    assert_eq!(
        one(PageKind::Measured, 0, &[0; 4096]),
        "9d13634b6014bb21cf059b2dc694e7bff01a8a7137041100cd2b695f3d10fb687267b97808b27f8f471d943bc6f53a20"
    );
    assert_eq!(one(PageKind::Shared, 0, &junk), Digest384::ZERO.to_string());
}

/// The stages of stock OVMF for SEV (coco.md 7.5) from the digest after the firmware volume on: the
/// metadata sections in file order, then two vCPUs.
#[test]
fn ovmf_sections_and_vcpus_match_the_vectors() {
    let start = "9d0dd8be18c86e3fe3bf0038ed75ebf5340bee69fd2632c8ff9409964575960a\
                 e1f7e84be387d2e3467bc3508d1e4806";
    let mut digest = SnpDigest { current: Digest384(hex::decode(start).unwrap().try_into().unwrap()) };
    for (gpa, pages, kind, after) in [
        (0x80_0000, 9, PageKind::Zero, "9cbd59c713518d50"),
        (0x80_a000, 3, PageKind::Zero, "c0f1d25230f7591f"),
        (0x80_d000, 1, PageKind::Secrets, "c8904ca5466fb1d6"),
        (0x80_e000, 1, PageKind::Cpuid, "af6b338251f48b6a"),
        (0x80_f000, 1, PageKind::Zero, "bb4c3d11241155a4"),
        (0x81_1000, 0x1f, PageKind::Zero, "2f44f8584a7c2a7e"),
        (0x81_0000, 1, PageKind::Zero, "8e15fd173d3dc8f2"),
    ] {
        digest.update_run(&PageRun::empty(gpa, pages, kind, "section")).unwrap();
        assert_eq!(digest.value().to_string()[..16], *after, "section at {gpa:#x}");
    }
    let bsp = CpuState::reset(0x80_0f12);
    let mut ap = bsp.clone();
    (ap.cs.base, ap.rip) = (0x80_0000, 0xb004);
    digest.update_vmsa(&vmsa_page(&bsp, 0));
    assert_eq!(
        digest.value().to_string(),
        "d74bd3ea40b240c3228edc5177ce6193561ebff633dbd0be76d6c143b876d65102425c0e2e8a930857c48daa5eacda58"
    );
    digest.update_vmsa(&vmsa_page(&ap, 0));
    assert_eq!(
        digest.value().to_string(),
        "a3c946257b3cef8f1e25dd03cb84f9f01313ae9135c32acc7e01f4204aa447aaa196530d5999be0f114462d2546cd02d"
    );
}

#[test]
fn a_file_is_measured_piece_by_piece_as_its_bytes() {
    let bytes: Vec<u8> = (0..CHUNK as usize * 4096 * 2 + 5000).map(|i| (i / 7) as u8).collect();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"head").unwrap();
    file.write_all(&bytes).unwrap();
    let from_bytes = PageRun::bytes(0x10_0000, PageKind::Measured, "x", bytes.clone());
    let from_file = PageRun {
        source: Source::File { file: Arc::new(file), path: "x".into(), offset: 4, len: bytes.len() as u64 },
        ..from_bytes.clone()
    };
    let (mut a, mut b) = (SnpDigest::new(), SnpDigest::new());
    a.update_run(&from_bytes).unwrap();
    b.update_run(&from_file).unwrap();
    assert_eq!(a.value(), b.value());

    let mut by_hand = SnpDigest::new();
    for (i, chunk) in bytes.chunks(4096).enumerate() {
        let mut page = [0; 4096];
        page[..chunk.len()].copy_from_slice(chunk);
        by_hand.update(PageKind::Measured, 0x10_0000 + i as u64 * 4096, &page);
    }
    assert_eq!(a.value(), by_hand.value());
}

#[test]
fn a_plan_is_measured_in_order_and_without_its_shared_pages() {
    let plan = LaunchPlan {
        pages: vec![
            PageRun::empty(0x9000, 1, PageKind::Shared, "shared"),
            PageRun::bytes(0x2000, PageKind::Measured, "a", vec![1u8; 10]),
            PageRun::empty(0x1000, 1, PageKind::Secrets, "secrets page"),
        ],
        vcpus: vec![CpuState::reset(1), CpuState::reset(1)],
        identity: Identity::default(),
        layout: GuestLayout::new(32 << 20),
        initial: InitialPrivacy::Private,
        td_hob: None,
    };
    let m = measure_snp(&plan).unwrap();
    let labels: Vec<_> = m.stages.iter().map(|s| s.label.as_str()).collect();
    assert_eq!(labels, ["a", "secrets page", "vCPU 0 state", "vCPU 1 state"]);
    assert_eq!(m.stages.last().unwrap().digest_after, m.digest);

    let mut swapped = plan.clone();
    swapped.pages.swap(1, 2);
    assert_ne!(measure_snp(&swapped).unwrap().digest, m.digest, "the order is measured");
}

#[test]
fn a_run_that_is_not_made_of_whole_pages_is_refused() {
    for (gpa, pages) in [(1, 1), (0, u64::MAX), (u64::MAX - 4095, 1)] {
        let run = PageRun::empty(gpa, pages, PageKind::Zero, "x");
        assert!(matches!(SnpDigest::new().update_run(&run), Err(MeasureError::Unaligned { .. })));
    }
}
