use cloister_firmware::plan::{PageKind, TdIdentity};
use sha2::{Digest, Sha256};

use super::*;
use crate::cli::run::test_files::{Files, ID_KEY, TD_HOB};
use crate::config::{CpuModel, CpuSig, Size};

fn refused(spec: &VmSpec, kind: PlatformKind) -> String {
    let text = plan_for(spec, kind).unwrap_err().to_string();
    assert_eq!(text.lines().count(), 3, "{text}");
    text
}

/// sev-snp-measure's own tests (`tests/test_guest.py`), those without a kernel.
#[test]
fn published_digests() {
    let files = Files::new();
    let published: serde_json::Value =
        serde_json::from_str(include_str!("../../../../tests/vectors/measure/vectors.json")).unwrap();
    let rows = published["sev_snp_measure_published"].as_array().unwrap();
    let mut seen = 0;
    for row in rows {
        let text = |key: &str| row[key].as_str();
        if text("mode") != Some("SEV_SNP") || text("vmm") != Some("QEMU") || text("kernel").is_some() {
            continue;
        }
        let firmware = if text("ovmf").unwrap().contains("AmdSev") { "amdsev" } else { "x64" };
        let features = text("guest_features").unwrap();
        let mut spec = files.spec(Some(firmware), false, &format!("snp,vmsa-features={features}"));
        spec.cpus = Some(row["vcpus"].as_u64().unwrap() as u32);
        spec.cpu_sig = Some(text("sig").unwrap().parse().unwrap());
        let planned = plan_for(&spec, PlatformKind::Snp).unwrap();
        assert_eq!(planned.predicted().to_string(), text("digest").unwrap(), "{}", row["test"]);
        seen += 1;
    }
    assert_eq!(seen, 4);
}

#[test]
fn an_snp_guest_is_planned_with_the_hashes_of_what_the_firmware_is_handed() {
    let files = Files::new();
    let coco = format!("snp,policy=0xb0000,host-data={}", "05".repeat(32));
    let mut spec = files.spec(Some("amdsev"), true, &coco);
    spec.initrd = Some(files.path("initrd"));
    spec.cmdline = Some("quiet".into());
    spec.cpus = Some(2);
    spec.cpu_model = Some(CpuModel(0xa0_0f11));
    let planned = plan_for(&spec, PlatformKind::Snp).unwrap();
    let Planned { plan, firmware, .. } = &planned;
    assert_eq!((plan.initial, plan.td_hob), (InitialPrivacy::Private, None));
    assert_eq!((plan.identity.policy, plan.identity.host_data), (0xb0000, [5; 32]));
    assert_eq!(plan.vcpus.iter().map(|v| v.rdx).collect::<Vec<_>>(), [0xa0_0f11; 2]);

    let hashes = plan.pages.iter().find(|run| run.label == "kernel hashes").unwrap();
    assert_eq!(hashes.kind, PageKind::Measured);
    let mut page = [0; 4096];
    hashes.read(0, &mut page).unwrap();
    let file = |name: &str| std::fs::read(files.path(name)).unwrap();
    for part in [file("kernel"), file("initrd"), b"quiet\0".to_vec()] {
        let hash: [u8; 32] = Sha256::digest(part).into();
        assert!(page.windows(32).any(|bytes| bytes == hash));
    }
    let handover = firmware.as_ref().unwrap().handover.as_ref().unwrap();
    assert_eq!((handover.code_offset, handover.cmdline.as_str()), (0x400, "quiet"));
    assert!(handover.expected.is_some(), "what arrives is watched");

    // Every input counts, and the memory's size does not.
    let digest = |f: &dyn Fn(&mut VmSpec)| {
        let mut spec = spec.clone();
        f(&mut spec);
        plan_for(&spec, PlatformKind::Snp).unwrap().predicted()
    };
    assert_eq!(digest(&|s| s.memory = Some(Size(6 << 30))), planned.predicted());
    for change in [
        (&|s: &mut VmSpec| s.initrd = None) as &dyn Fn(&mut VmSpec),
        &|s| s.cmdline = Some("quiet ".into()),
        &|s| s.cpus = Some(3),
        &|s| (s.cpu_model, s.cpu_sig) = (None, Some(CpuSig(1))),
    ] {
        assert_ne!(digest(change), planned.predicted());
    }
}

#[test]
fn the_simulator_launches_the_same_guest_and_lets_it_share() {
    let files = Files::new();
    let spec =
        |coco| VmSpec { cpu_model: Some(CpuModel(SIGNATURE)), ..files.spec(Some("amdsev"), true, coco) };
    let snp = plan_for(&spec("snp"), PlatformKind::Snp).unwrap();
    let sim = plan_for(&spec("sim"), PlatformKind::Sim).unwrap();
    assert_eq!(sim.measurement, snp.measurement);
    assert_eq!(sim.plan.initial, InitialPrivacy::Shared);
    let unnamed = VmSpec { cpu_model: None, ..spec("sim") };
    assert_eq!(plan_for(&unnamed, PlatformKind::Sim).unwrap().measurement, snp.measurement);
}

#[test]
fn an_snp_guest_whose_cpu_nobody_named_is_not_guessed() {
    let files = Files::new();
    let text = refused(&files.spec(Some("amdsev"), false, "snp"), PlatformKind::Snp);
    assert!(text.contains("--cpu-model") && text.contains("RDX"), "{text}");
    let text = refused(&files.spec(None, true, "snp"), PlatformKind::Snp);
    assert!(text.contains("PVALIDATE"), "the firmware is missing first: {text}");
}

#[test]
fn a_td_is_planned_and_its_kernel_is_for_the_firmware_to_measure() {
    let files = Files::new();
    let owner = "07".repeat(48);
    let mut spec = files.spec(Some("tdvf"), true, &format!("tdx,mrowner={owner}"));
    spec.cpus = Some(2);
    let planned = plan_for(&spec, PlatformKind::Tdx).unwrap();
    let Planned { plan, firmware, .. } = &planned;
    assert_eq!((plan.td_hob, plan.initial), (Some(TD_HOB), InitialPrivacy::Private));
    assert_eq!(plan.vcpus.len(), 2);
    assert_eq!(plan.identity.tdx, TdIdentity { mrowner: [7; 48], ..TdIdentity::default() });
    let handover = firmware.as_ref().unwrap().handover.as_ref().unwrap();
    assert!(handover.expected.is_none(), "nobody checks it before it runs");

    // MRTD is the firmware's alone.
    spec.memory = Some(Size(5 << 30));
    spec.cpus = Some(1);
    spec.kernel = None;
    let other = plan_for(&spec, PlatformKind::Tdx).unwrap();
    assert_eq!(other.predicted(), planned.predicted());
    assert_ne!(other.plan.layout, plan.layout);
    let mut changed = std::fs::read(files.path("tdvf")).unwrap();
    changed[0x1000] ^= 1;
    std::fs::write(files.path("tdvf"), changed).unwrap();
    assert_ne!(plan_for(&spec, PlatformKind::Tdx).unwrap().predicted(), planned.predicted());
}

#[test]
fn an_id_block_is_for_one_guest() {
    use cloister_firmware::identity::{IdBlock, IdKey};
    let files = Files::new();
    let spec = |coco: &str| VmSpec {
        cpu_model: Some(CpuModel(SIGNATURE)),
        ..files.spec(Some("amdsev"), true, coco)
    };
    let digest = plan_for(&spec("snp"), PlatformKind::Snp).unwrap().predicted();
    let block = IdBlock { digest, family_id: [0; 16], image_id: [0; 16], guest_svn: 0, policy: 0x30000 };
    let signed = block.sign(&IdKey::from_pem(ID_KEY).unwrap(), None);
    std::fs::write(files.path("block"), signed.block).unwrap();
    std::fs::write(files.path("auth"), &signed.auth[..]).unwrap();
    let dir = files.dir().display();
    let signed = format!("id-block=@{dir}/block,id-auth=@{dir}/auth");
    for (platform, kind) in [("snp", PlatformKind::Snp), ("sim", PlatformKind::Sim)] {
        let mut spec = spec(&format!("{platform},{signed}"));
        let launched = |spec: &VmSpec| plan(&Guest::new(spec).unwrap(), kind, None);
        assert!(launched(&spec).unwrap().plan.identity.id.is_some());
        spec.cmdline = Some("another".into());
        assert_ne!(plan_for(&spec, kind).unwrap().predicted(), digest, "measured all the same");
        let text = launched(&spec).unwrap_err().to_string();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains(&digest.to_string()) && text.contains("--explain"), "{text}");
    }
}

#[test]
fn what_firmware_cannot_be_handed_is_refused() {
    let files = Files::new();
    let mut spec = files.spec(Some("tdvf"), true, "tdx");
    spec.kernel = Some(files.path("initrd"));
    assert!(refused(&spec, PlatformKind::Tdx).contains("initrd"));
    // Too little memory for what the firmware asks for is told by the planner.
    let mut spec = files.spec(Some("amdsev"), false, "sim");
    spec.memory = Some(Size(16 << 20));
    assert!(refused(&spec, PlatformKind::Sim).contains("32 MiB"));
}
