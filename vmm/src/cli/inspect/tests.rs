use super::report::Measured;
use super::*;
use cloister_firmware::igvm::write::Writer;
use cloister_firmware::igvm::{KVM_VMSA_GPA, PageDataType, PageFlags, ParameterKind, PlatformType};
use cloister_firmware::measure::vmsa_page;
use cloister_firmware::ovmf::{Guid, known};
use cloister_firmware::plan::CpuState;

/// A report about a file with these bytes.
fn report(name: &str, bytes: &[u8], all: bool) -> Result<Report, Refusal> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    inspect(&path, all)
}

fn igvm() -> Vec<u8> {
    let (plain, normal) = (PageFlags::default(), PageDataType::NORMAL);
    let mut writer = Writer::new(1)
        .platform(1, PlatformType::SEV_SNP)
        .platform(2, PlatformType::TDX)
        .policy(1, 0x3_0000)
        .area(0, 4096, &[])
        .parameter(ParameterKind::MEMORY_MAP, 0, 0)
        .insert(3, 0x1000, 0);
    for page in 0..40u8 {
        writer = writer.page(3, 0x10_0000 + 4096 * u64::from(page), plain, normal, &[page + 1]);
    }
    let vmsa = vmsa_page(&CpuState::reset(0), 0);
    writer
        .page(1, 0x20_0000, plain, PageDataType::SECRETS, &[])
        .page(3, 0x30_0000, PageFlags::SHARED, normal, b"shared")
        .vp_context(1, KVM_VMSA_GPA, 0, &vmsa)
        .build()
}

#[test]
fn an_igvm_file_is_told_header_by_header_and_step_by_step() {
    let report = report("guest.igvm", &igvm(), false).unwrap();
    let text = text::print(&report);
    for part in ["GUEST_POLICY", "policy 0x30000", "40 directives", "IGVM memory map", "the platform"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let [snp, tdx] = &report.launches[..] else { panic!("two launches") };
    let digest = snp.digest.unwrap().to_string();
    assert!(text.contains(&format!("launch digest {digest}")));
    let steps: Vec<_> = snp.steps.iter().map(|s| (s.what.as_str(), s.bytes, s.measured)).collect();
    assert_eq!(
        steps,
        [
            ("IGVM memory map", 4096, Measured::Address),
            ("IGVM pages", 40 * 4096, Measured::Contents),
            ("secrets page", 4096, Measured::Address),
            ("IGVM shared pages", 4096, Measured::Nothing),
            ("vCPU 0 state", 4096, Measured::Contents),
        ]
    );
    assert_eq!((tdx.measurement, tdx.steps.len()), ("MRTD", 3));
}

#[test]
fn nothing_is_folded_if_all_is_asked_for() {
    let rows = |all| report("guest.igvm", &igvm(), all).unwrap().tables.pop().unwrap().rows.len();
    assert_eq!((rows(false), rows(true)), (7, 46));
}

#[test]
fn json_has_numbers_and_digests() {
    let json = serde_json::to_value(report("guest.igvm", &igvm(), false).unwrap()).unwrap();
    assert_eq!(json["launches"][0]["steps"][1]["address"], 0x10_0000);
    assert_eq!(json["launches"][0]["steps"][1]["measured"], "contents");
    assert_eq!(json["launches"][0]["digest"].as_str().unwrap().len(), 96);
    assert_eq!(json["tables"][2]["rows"][2]["directive"], "PARAMETER_INSERT");
    assert_eq!(json["tables"][2]["rows"][2]["address"], 0x1000);
}

#[test]
fn the_picture_shows_every_kind_and_no_name_breaks_it() {
    let svg = svg::draw(&report("<b>&\".igvm", &igvm(), false).unwrap());
    assert!(svg.contains("&lt;b&gt;&amp;&quot;.igvm") && !svg.contains("<b>"));
    for part in ["SEV-SNP", "secrets page", "vCPU 0 state", "not launched", "0x100000<", "url(#address)"] {
        assert!(svg.contains(part), "{part}");
    }
    assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
}

/// A page of firmware whose table has a reset block, SEV metadata and one more entry.
fn ovmf(data: &[u8], guid: Guid) -> Vec<u8> {
    let mut image = vec![0; 4096];
    let mut metadata = b"ASEV".to_vec();
    for word in [40u32, 1, 2, 0x80_0000, 0x2000, 1, 0x80_2000, 0x1000, 2] {
        metadata.extend(word.to_le_bytes());
    }
    image[0x100..0x100 + metadata.len()].copy_from_slice(&metadata);
    let mut table = Vec::new();
    let mut entry = |data: &[u8], guid: Guid| {
        table.extend_from_slice(data);
        table.extend((data.len() as u16 + 18).to_le_bytes());
        table.extend(guid.0);
    };
    entry(data, guid);
    entry(&(4096 - 0x100u32).to_le_bytes(), known::SEV_METADATA);
    entry(&0x80_b004u32.to_le_bytes(), known::RESET_BLOCK);
    let len = table.len() as u16 + 18;
    table.extend(len.to_le_bytes());
    table.extend(known::TABLE_FOOTER.0);
    let end = 4096 - 0x20;
    image[end - table.len()..end].copy_from_slice(&table);
    image
}

#[test]
fn a_firmware_image_is_told_by_its_table_and_metadata() {
    let report = report("OVMF.fd", &ovmf(b"hello", Guid([7; 16])), false).unwrap();
    let text = text::print(&report);
    for part in ["start at 0x80b004", "at offset 0x100", "68656c6c6f", "SNP_SECRETS", "cloister measure snp"]
    {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let [snp] = &report.launches[..] else { panic!("one launch") };
    let steps: Vec<_> = snp.steps.iter().map(|s| (s.address, s.bytes, s.measured, s.vcpu)).collect();
    assert_eq!(
        steps,
        [
            (0xffff_f000, 0x1000, Measured::Contents, false),
            (0x80_0000, 0x2000, Measured::Zeros, false),
            (0x80_2000, 0x1000, Measured::Address, false),
            (KVM_VMSA_GPA, 0x1000, Measured::Contents, true),
        ]
    );
    assert!(svg::draw(&report).contains("SEC memory"));
}

#[test]
fn an_svsm_is_not_told_as_if_it_were_firmware() {
    let report = report("svsm.bin", &ovmf(&0x40u32.to_le_bytes(), known::SVSM_INFO), false).unwrap();
    let text = text::print(&report);
    for part in ["launched below its firmware", "starts at offset 0x40", "SNP_SECRETS", "measure snp --svsm"]
    {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(report.launches[0].steps.is_empty() && !text.contains("0xfffff000"), "{text}");
    assert!(svg::draw(&report).contains("SEV-SNP"));
}

#[test]
fn other_files_are_refused_in_three_lines() {
    for bytes in [&[0u8; 4096][..], b"IGVM", b"no image at all", b""] {
        let refusal = report("x", bytes, false).unwrap_err().to_string();
        let lines: Vec<_> = refusal.lines().collect();
        assert_eq!(lines.len(), 3, "{refusal}");
        assert!(lines[1].starts_with("  why: ") && lines[2].starts_with("  do:  "), "{refusal}");
    }
}
