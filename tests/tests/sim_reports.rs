//! Reports of the simulated PSP before our own verifier: every version, with and without an ID block.

use std::sync::Arc;

use cloister_attestation::policy::Policy;
use cloister_attestation::snp::{Expected, HostData, Product, Report, verify_snp_evidence};
use cloister_attestation::time::UnixTime;
use cloister_coco::memory::{Converter, GuestRam, RamRange, SharedMemory, Target};
use cloister_coco::sim::{
    REPORT_SIZE, ReportForm, ReportLayout, ReportVersion, SimPsp, SnpPlatform, VcpuRegisters,
};
use cloister_coco::snp::SnpLaunch;
use cloister_firmware::identity::{IdBlock, IdKey};
use cloister_firmware::measure::Digest384;
use cloister_firmware::plan::{
    CpuState, GuestLayout, Identity, InitialPrivacy, LaunchPlan, PageKind, PageRun, SignedIdBytes,
};
use kvm_bindings::{kvm_regs, kvm_sregs};

struct OneVcpu;

impl VcpuRegisters for OneVcpu {
    fn registers(&self) -> std::io::Result<Vec<(kvm_regs, kvm_sregs)>> {
        Ok(vec![Default::default()])
    }
}

const REPORT_DATA: [u8; 64] = [5; 64];
const HOST_DATA: [u8; 32] = [7; 32];
/// In the middle of 2026, when the simulator's certificates are valid.
const NOW: UnixTime = UnixTime(1_782_864_000);

/// Keys made for this test.
const ID_KEY: &str = "-----BEGIN EC PRIVATE KEY-----
MIGkAgEBBDAPaEOOYFdKjemQWS+07yyJq8H53IhpaFVOVQYmICC0EKkci9FbwK3v
JjOjd3yNw6WgBwYFK4EEACKhZANiAAQIV3q/fQzH21Z9G6dY6JCH2S/qU5lpNpZB
09/Unvl9lTmt3HWVZBvY3PYNDYR6O2DOKQVyDLU6igS/TxYRY5Cb2WRlpTBLT8j/
PsdVq2sVPWQiuoy+66uxkBrLCLmJD1g=
-----END EC PRIVATE KEY-----";
const AUTHOR_KEY: &str = "-----BEGIN EC PRIVATE KEY-----
MIGkAgEBBDDYtR8merHeRud6tCLT2RZVr3X9B3y5BzTJAGMWbBLVycBRMvQvR2xc
e26sNoPbztagBwYFK4EEACKhZANiAAS6Xx+hJZlVcPIUG7FBwZNGxRIP6Yjny95n
Sj/kNSDTx3rksqic6fgl86thL18ADtCtJf8aolaejmIq1NV15NnDsuarQNM4VKZf
xovLj6v3gIM8pbcxTrgYPbTfDzcRxQY=
-----END EC PRIVATE KEY-----";

/// Launches a small guest on a simulated platform.
fn launch(report: ReportForm, identity: Identity) -> SimPsp {
    let ram = GuestRam::new(&[RamRange { start: 0, size: 1 << 16 }]).unwrap();
    let memory = SharedMemory::new(ram.clone());
    Converter::plain(memory.clone()).convert(0, 16, Target::Private).unwrap();
    let platform = SnpPlatform { report, ..SnpPlatform::default() };
    let psp = SimPsp::on(platform, ram, memory, Arc::new(OneVcpu)).unwrap();
    let plan = LaunchPlan {
        pages: vec![PageRun::bytes(0x1000, PageKind::Measured, "code", vec![0xf4; 100])],
        vcpus: vec![CpuState::reset(0x80_0f12)],
        identity,
        layout: GuestLayout::new(1 << 16),
        initial: InitialPrivacy::Private,
        td_hob: None,
    };
    let launch = SnpLaunch::new(&psp, 3);
    launch.start(&plan.identity).unwrap();
    launch.load(&plan, &[0; 4096]).unwrap();
    launch.finish(&plan.identity).unwrap();
    psp
}

fn identity() -> Identity {
    Identity { host_data: HOST_DATA, ..Identity::default() }
}

fn form(version: ReportVersion) -> ReportForm {
    ReportForm { version, ..ReportForm::default() }
}

/// Judges the guest's report by a policy that accepts this guest and adds `rules`; what was refused.
fn judge(psp: &SimPsp, rules: &str) -> Vec<String> {
    let evidence = psp.report(&REPORT_DATA).unwrap();
    let (report, certificates) = evidence.split_at(REPORT_SIZE);
    let measured = hex::encode(psp.digest());
    let text = format!("version = 1\nallow-sim = true\n[snp]\nmeasurements = [\"{measured}\"]\n{rules}\n");
    let policy = Policy::parse(&text).unwrap();
    let expected = Expected { report_data: REPORT_DATA, host_data: HostData::Launch(HOST_DATA), now: NOW };
    let verdict = verify_snp_evidence(report, certificates, &policy, &expected);
    assert_eq!(verdict.accepted(), verdict.rejections().is_empty());
    verdict.rejections().iter().map(ToString::to_string).collect()
}

#[test]
fn reports_of_every_version_are_accepted_as_simulated_ones() {
    for version in [ReportVersion::V2, ReportVersion::V3, ReportVersion::V5] {
        let psp = launch(form(version), identity());
        assert_eq!(judge(&psp, ""), [""; 0], "{version:?}");
        let floor = "min-tcb = { bootloader = 3, tee = 1, snp = 20, microcode = 200 }";
        assert_eq!(judge(&psp, floor), [""; 0], "{version:?}");
        assert_eq!(judge(&psp, "min-tcb = { microcode = 201 }").len(), 1, "{version:?}");
        // Only version 5 has them.
        let mitigations = judge(&psp, "required-launch-mitigations = 3\nrequired-current-mitigations = 2");
        assert_eq!(mitigations.len(), if version == ReportVersion::V5 { 0 } else { 2 }, "{mitigations:?}");
    }
}

#[test]
fn the_owner_of_an_id_block_is_who_the_report_says() {
    let [id_key, author] = [ID_KEY, AUTHOR_KEY].map(|pem| IdKey::from_pem(pem).unwrap());
    let digest = launch(form(ReportVersion::V3), identity()).digest();
    let block = IdBlock {
        digest: Digest384(digest),
        family_id: [0xf; 16],
        image_id: [0x1; 16],
        guest_svn: 9,
        policy: identity().policy,
    };
    for author in [None, Some(&author)] {
        let signed = block.sign(&id_key, author);
        let id =
            SignedIdBytes { block: signed.block, auth: signed.auth.into(), author_key: author.is_some() };
        for version in [ReportVersion::V2, ReportVersion::V3, ReportVersion::V5] {
            let psp = launch(form(version), Identity { id: Some(id.clone()), ..identity() });
            let rules = format!(
                "id-key-digests = [\"{}\"]\nfamily-id = \"{}\"\nimage-id = \"{}\"\nmin-guest-svn = 9",
                id_key.digest(),
                "0f".repeat(16),
                "01".repeat(16),
            );
            assert_eq!(judge(&psp, &rules), [""; 0], "{version:?}");
            let by_author =
                format!("author-key-digests = [\"{}\"]", IdKey::from_pem(AUTHOR_KEY).unwrap().digest());
            assert_eq!(judge(&psp, &by_author).len(), usize::from(author.is_none()), "{version:?}");
            assert_eq!(judge(&psp, "min-guest-svn = 10").len(), 1);
            assert_eq!(judge(&psp, &format!("id-key-digests = [\"{}\"]", "00".repeat(48))).len(), 1);
        }
    }
}

#[test]
fn reports_laid_out_as_products_are_read_as_theirs_and_never_believed() {
    for (layout, product, tcb) in [
        (ReportLayout::Milan, Product::Milan, "bootloader 3, tee 1, snp 20, microcode 200"),
        (ReportLayout::Genoa, Product::Genoa, "bootloader 3, tee 1, snp 20, microcode 200"),
        (ReportLayout::Turin, Product::Turin, "fmc 2, bootloader 3, tee 1, snp 20, microcode 200"),
    ] {
        for version in [ReportVersion::V3, ReportVersion::V5] {
            let psp = launch(ReportForm { version, layout }, identity());
            let evidence = psp.report(&REPORT_DATA).unwrap();
            let report = Report::parse(&evidence[..REPORT_SIZE]).unwrap();
            assert_eq!(report.product(), Ok(Some(product)));
            assert_eq!(report.reported_tcb().describe(product), tcb);
            assert_eq!(report.measurement(), psp.digest());
            let refused = judge(&psp, "");
            assert_eq!(refused.len(), 1, "the simulator's chain is no product's: {refused:?}");
        }
    }
}
