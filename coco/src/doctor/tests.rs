//! Recorded hosts and what is to be found of them, garbled recordings, and this machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use PlatformKind::*;

fn tree(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/doctor/testdata").join(name)
}

fn report(name: &str) -> Report {
    Report::of(&Host::recorded(&tree(name)).unwrap())
}

/// Fails unless exactly these findings are other than ok: `level id`, in their order.
#[track_caller]
fn expect(report: &Report, wanted: &[&str]) {
    let name = |level| match level {
        Level::Ok => "ok",
        Level::Note => "note",
        Level::Unknown => "unknown",
        Level::Missing => "missing",
    };
    let not_ok = report.findings.iter().filter(|f| f.level != Level::Ok);
    let found: Vec<_> = not_ok.map(|f| format!("{} {}", name(f.level), f.id)).collect();
    assert_eq!(found, wanted);
}

fn able(report: &Report) -> Vec<PlatformKind> {
    report.platforms.iter().filter(|p| p.verdict == Verdict::Can).map(|p| p.platform).collect()
}

fn first(report: &Report, kind: PlatformKind) -> &'static str {
    report.obstacles(kind).first().map_or("", |f| f.id)
}

#[track_caller]
fn remedy(report: &Report, id: &str, text: &str) {
    let finding = report.finding(id).unwrap_or_else(|| panic!("no finding {id}"));
    assert!(finding.remedy.as_deref().is_some_and(|r| r.contains(text)), "{finding:?}");
}

const NO_PROTECTED: [&str; 2] = ["missing kernel.config.protected", "missing kvm.vm-type.protected"];

#[test]
fn genoa_with_snp_ready() {
    let report = report("genoa-snp");
    assert_eq!(able(&report), [Snp, Sim, Off]);
    expect(&report, &["missing cpu.tdx", NO_PROTECTED[0], NO_PROTECTED[1], "note memory.smt"]);
    let tcb = report.finding("psp.tcb").unwrap();
    assert!(tcb.observed.contains("bootloader 10 tee 0 snp 23 microcode 84"), "{tcb:?}");
    let features = report.finding("kvm.snp.vmsa-features").unwrap();
    assert_eq!(features.observed, "0x220: debug swap, Secure TSC");
}

#[test]
fn milan_with_snp_off_in_the_bios() {
    let report = report("milan-bios-off");
    assert_eq!(able(&report), [Sim, Off]);
    expect(
        &report,
        &[
            "missing cpu.tdx",
            "missing bios.sev-es-asids",
            "missing bios.rmp",
            NO_PROTECTED[0],
            "unknown iommu.snp",
            "missing module.kvm-amd.sev-es",
            "missing module.kvm-amd.sev-snp",
            "unknown psp.state",
            "missing device.sev",
            "missing kvm.vm-type.snp",
            NO_PROTECTED[1],
            "note kvm.guest-memfd-plain",
            "note firmware.snp",
            "note limits.open-files",
            "note memory.smt",
        ],
    );
    assert_eq!(first(&report, Snp), "bios.sev-es-asids");
    remedy(&report, "bios.rmp", "RMP Table");
    // Its group is root's: nobody is to join that.
    remedy(&report, "device.sev", "GROUP=\"kvm\", MODE=\"0660\"");
}

#[test]
fn genoa_whose_iommu_passes_through() {
    let report = report("genoa-iommu-pt");
    assert_eq!(able(&report), [Sim, Off]);
    assert_eq!(first(&report, Snp), "iommu.snp");
    remedy(&report, "iommu.snp", "iommu=pt");
    // Bit 1 of the RMP's byte (aliases checked) is not bit 0.
    assert_eq!(report.finding("psp.state").unwrap().level, Level::Missing);
}

#[test]
fn emerald_rapids_with_tdx_ready() {
    let report = report("emerald-tdx");
    assert_eq!(able(&report), [Tdx, Sim, Off]);
    expect(&report, &["missing cpu.snp", NO_PROTECTED[0], NO_PROTECTED[1]]);
    assert_eq!(report.finding("quotes.service").unwrap().level, Level::Ok);
    let offers = report.finding("kvm.tdx.capabilities").unwrap();
    assert!(offers.observed.contains("attributes 0x10000000"), "{offers:?}");
}

#[test]
fn emerald_rapids_with_the_parameter_off() {
    let report = report("emerald-tdx-param-off");
    assert_eq!(able(&report), [Sim, Off]);
    assert_eq!(first(&report, Tdx), "module.kvm-intel.tdx");
    remedy(&report, "module.kvm-intel.tdx", "tdx=1");
    remedy(&report, "quotes.service", "qgsd");
    // What cannot be read is said to be unknown, not missing: no verdict hangs on it.
    assert_eq!(report.finding("bios.seam").unwrap().level, Level::Unknown);
    assert_eq!(report.finding("bios.tdx-keys").unwrap().level, Level::Ok);
}

#[test]
fn no_kvm_at_all() {
    let report = report("no-kvm");
    assert_eq!(able(&report), []);
    assert_eq!(report.verdict(Off), Verdict::Cannot);
    assert_eq!(first(&report, Off), "cpu.virtualisation");
    remedy(&report, "cpu.virtualisation", "firmware setup");
    assert_eq!(first(&report, Snp), "cpu.snp");
}

#[test]
fn kvm_that_this_user_may_not_open() {
    let report = report("kvm-denied");
    assert_eq!(able(&report), []);
    assert_eq!(first(&report, Off), "device.kvm");
    remedy(&report, "device.kvm", "usermod -aG kvm $USER");
}

#[test]
fn a_virtual_machine_with_software_protected_vms() {
    let report = report("nested-protected");
    assert_eq!(able(&report), [Protected, Sim, Off]);
    assert_eq!(first(&report, Snp), "cpu.bare-metal");
    assert!(report.finding("cpu.bare-metal").unwrap().observed.contains("KVMKVMKVM"));
    assert!(report.machine.virtual_machine);
}

/// The only recording here of a real machine: a virtual one whose KVM works without svm.
#[test]
fn a_virtual_machine_with_an_emulated_kvm() {
    let report = report("virtual-emulated-kvm");
    assert_eq!(able(&report), [Sim, Off]);
    // Nothing plain is kept from running by it: a note.
    assert_eq!(report.finding("cpu.virtualisation").unwrap().level, Level::Note);
    assert_eq!(first(&report, Snp), "cpu.bare-metal");
    assert_eq!(first(&report, Protected), "kernel.config.protected");
}

fn trees() -> Vec<String> {
    let entries = fs::read_dir(tree("")).unwrap();
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

/// What every report of every host is.
fn sound(report: &Report) {
    let ids: BTreeSet<_> = report.findings.iter().map(|f| f.id).collect();
    assert_eq!(ids.len(), report.findings.len(), "an id is there twice");
    for f in &report.findings {
        assert!(!f.platforms.is_empty() && !f.source.is_empty() && !f.observed.is_empty(), "{f:?}");
        assert!(f.level < Level::Unknown || f.remedy.is_some(), "nothing mends {f:?}");
    }
    for p in &report.platforms {
        assert_eq!(p.because.is_empty(), p.verdict == Verdict::Can, "{p:?}");
    }
    assert_eq!(report.verdict(Sim), report.verdict(Off));
    let Summary { ok, note, unknown, missing } = report.summary;
    assert_eq!(ok + note + unknown + missing, report.findings.len());
}

#[test]
fn reports_of_all_recordings_are_sound_and_survive_recording() {
    assert_eq!(trees().len(), 9);
    for name in trees() {
        let host = Host::recorded(&tree(&name)).unwrap();
        let report = Report::of(&host);
        sound(&report);
        let dir = tempfile::tempdir().unwrap();
        host.record(dir.path()).unwrap();
        assert_eq!(Report::of(&Host::recorded(dir.path()).unwrap()), report, "{name}");
    }
}

#[test]
fn a_recording_is_of_one_host() {
    let dir = tempfile::tempdir().unwrap();
    let (snp, none) = ("genoa-snp", "no-kvm");
    Host::recorded(&tree(snp)).unwrap().record(dir.path()).unwrap();
    let again = Host::recorded(&tree(none)).unwrap().record(dir.path());
    assert!(again.unwrap_err().to_string().contains("not empty"));
    assert_eq!(Report::of(&Host::recorded(dir.path()).unwrap()).verdict(Snp), Verdict::Can);
}

#[test]
fn what_an_old_kernel_lacks_is_not_blamed_on_a_new_one() {
    let mut host = Host::recorded(&tree("genoa-snp")).unwrap();
    let Answer::Value(kvm) = &mut host.answers.kvm else { panic!("no KVM in the recording") };
    for vm in kvm.vms.values_mut() {
        let Answer::Value(values) = vm else { continue };
        values.insert("pre_fault_memory".into(), 0);
    }
    let remedy = Report::of(&host).finding("kvm.pre-fault").unwrap().remedy.clone().unwrap();
    assert!(remedy.contains("6.10") && remedy.contains("nested paging"), "{remedy}");
}

#[test]
fn synthesised_recordings_say_so() {
    for name in trees() {
        let host = Host::recorded(&tree(&name)).unwrap();
        let real = name == "virtual-emulated-kvm";
        assert_eq!(host.answers().origin.contains("synthesised"), !real, "{name}");
    }
}

#[test]
fn this_machine_is_examined_and_recorded() {
    let host = Host::this(&LiveOptions {
        quote_service: Some("unix:/nonexistent".parse().unwrap()),
        firmware: true,
    });
    let report = Report::of(&host);
    sound(&report);
    assert!(!report.machine.cpu.is_empty());
    let dir = tempfile::tempdir().unwrap();
    host.record(dir.path()).unwrap();
    let again = Report::of(&Host::recorded(dir.path()).unwrap());
    let levels = |r: &Report| r.findings.iter().map(|f| (f.id, f.level)).collect::<Vec<_>>();
    assert_eq!(levels(&again), levels(&report));
    assert_eq!(again.platforms, report.platforms);
    // What is not the checks' business is not recorded.
    let cpus = fs::read_to_string(dir.path().join("proc/cpuinfo")).unwrap();
    assert_eq!(cpus.matches("processor\t:").count(), 1);
    let cmdline = fs::read_to_string(dir.path().join("proc/cmdline")).unwrap_or_default();
    assert!(!cmdline.contains("console="), "{cmdline}");
}

#[test]
fn a_failed_launch_is_told_what_is_missing_and_only_that() {
    for kind in [Snp, Tdx, Protected, Sim, Off] {
        let findings = for_platform(kind);
        assert!(findings.iter().all(|f| f.level != Level::Ok), "{findings:?}");
        assert!(findings.iter().all(|f| f.platforms.contains(&kind) && f.role != Role::Advises));
    }
    let ids = |name, kind| report(name).suspects(kind).iter().map(|f| f.id).collect::<Vec<_>>();
    assert_eq!(ids("genoa-snp", Snp), [""; 0]);
    assert_eq!(
        ids("genoa-iommu-pt", Snp),
        ["iommu.snp", "module.kvm-amd.sev-snp", "psp.state", "kvm.vm-type.snp"]
    );
    // KVM offers plain guests here, on a processor that cannot run them well.
    assert_eq!(ids("virtual-emulated-kvm", Off), ["cpu.virtualisation", "module.kvm-amd"]);
}

/// A way out of a recording leads back into it.
#[test]
fn links_do_not_lead_out_of_a_recording() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("answers.json"), r#"{"format": 1}"#).unwrap();
    fs::create_dir(dir.path().join("proc")).unwrap();
    for target in ["/proc/cpuinfo", "../../../../../../proc/cpuinfo"] {
        let link = dir.path().join("proc/cmdline");
        std::os::unix::fs::symlink(target, &link).unwrap();
        assert!(Host::recorded(dir.path()).unwrap().text("/proc/cmdline").is_absent());
        fs::remove_file(link).unwrap();
    }
    assert!(rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("proc/cmdline"), 0o600.into()).is_ok());
    assert!(Host::recorded(dir.path()).unwrap().text("/proc/cmdline").value().is_none());
}

#[test]
fn recordings_of_other_versions_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Host::recorded(dir.path()), Err(RecordingError::Read { .. })));
    for (text, json) in [("{", true), (r#"{"format": 1, "kvn": 3}"#, true), (r#"{"format": 2}"#, false)] {
        fs::write(dir.path().join("answers.json"), text).unwrap();
        match Host::recorded(dir.path()) {
            Err(RecordingError::Json { .. }) => assert!(json),
            Err(RecordingError::Format { found: 2, .. }) => assert!(!json),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_empty_recording_knows_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("answers.json"), r#"{"format": 1}"#).unwrap();
    let report = Report::of(&Host::recorded(dir.path()).unwrap());
    sound(&report);
    assert!(report.platforms.iter().all(|p| p.verdict == Verdict::Unknown), "{:?}", report.platforms);
}

/// Text that looks like something.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,40}",
        "0x[0-9a-f]{0,20}",
        Just("vendor_id: AuthenticAMD\nflags: sev_snp svm sev\n".to_owned()),
        Just("vendor_id: GenuineIntel\nflags: tme tdx_host_platform vmx\ncpu family: 26\n".to_owned()),
        Just("Max open files \n".to_owned()),
        Just("iommu=".to_owned()),
        Just("SEV-SNP: RMP table physical range".to_owned()),
        Just("\u{1f}\u{8b}\u{0}".to_owned()),
    ]
}

fn asked<T: std::fmt::Debug + Clone>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Answer<T>> {
    prop_oneof![value.prop_map(Answer::Value), any::<i32>().prop_map(Answer::Errno), Just(Answer::NotAsked)]
}

fn answers() -> impl Strategy<Value = Answers> {
    let leaf = prop::sample::select(vec!["0x0", "0x7", "0x40000000", "0x8000001f"]).prop_map(str::to_owned);
    let cpuid = prop::collection::btree_map(leaf, [word(), word(), word(), word()], 0..4);
    let number =
        prop::sample::select(vec!["0xc0010010", "0xc0010132", "0xc0010133", "0x87", "0x982", "0x1401"]);
    let msrs = asked(prop::collection::btree_map(number.prop_map(str::to_owned), word(), 0..6));
    let caps =
        || prop::collection::btree_map("vm_types|exit_hypercall|memory_attributes", any::<i32>(), 0..3);
    let vms = prop::collection::btree_map("default|protected|snp|tdx", asked(caps()), 0..4);
    let sev = prop::collection::btree_map("[0-2]", asked(word()), 0..3);
    let tdx = (word(), word(), any::<usize>()).prop_map(|(attributes, xfam, cpuid_leaves)| TdxCapabilities {
        attributes,
        xfam,
        cpuid_leaves,
    });
    let kvm = (any::<i32>(), caps(), vms, sev, asked(tdx)).prop_map(
        |(api, system, vms, sev_attributes, tdx_capabilities)| Kvm {
            api,
            system,
            vms,
            sev_attributes,
            tdx_capabilities,
        },
    );
    let node = (word(), word(), word(), asked(Just(true))).prop_map(|(mode, owner, group, open)| Node {
        mode,
        owner,
        group,
        open,
    });
    let nodes = prop::collection::btree_map("/dev/(kvm|sev|sev-guest|tdx_guest)", asked(node), 0..4);
    let log = asked(prop::collection::vec(word(), 0..4));
    let status = asked(prop_oneof![word(), "[0-9a-f]{64}"]);
    (cpuid, msrs, asked(kvm), nodes, log, status).prop_map(|(cpuid, msrs, kvm, nodes, kernel_log, status)| {
        Answers {
            format: Answers::FORMAT,
            cpuid,
            msrs,
            kvm,
            nodes,
            kernel_log,
            snp_platform_status: status,
            ..Answers::default()
        }
    })
}

/// Every file that some check reads.
const FILES: [&str; 9] = [
    "proc/cpuinfo",
    "proc/cmdline",
    "proc/config.gz",
    "proc/meminfo",
    "proc/self/limits",
    "proc/sys/kernel/osrelease",
    "sys/fs/cgroup/misc.capacity",
    "sys/module/kvm/parameters/tdp_mmu",
    "sys/module/kvm_amd/parameters/sev_snp",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbled_recordings_give_sound_reports(
        answers in answers(),
        files in prop::collection::vec(prop::collection::vec(word(), 0..3), FILES.len()),
    ) {
        let dir = tempfile::tempdir().unwrap();
        for (path, words) in FILES.iter().zip(files) {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, words.concat()).unwrap();
        }
        fs::write(dir.path().join("answers.json"), serde_json::to_string(&answers).unwrap()).unwrap();
        let host = Host::recorded(dir.path()).unwrap();
        prop_assert_eq!(host.answers(), &answers);
        let report = Report::of(&host);
        sound(&report);
        serde_json::to_string(&report).unwrap();
    }

    #[test]
    fn garbled_files_are_distilled_to_the_same_twice(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for path in FILES {
            let path = format!("/{path}");
            let once = distil::distil(&path, &bytes);
            prop_assert_eq!(distil::distil(&path, once.as_bytes()), once);
        }
    }
}
