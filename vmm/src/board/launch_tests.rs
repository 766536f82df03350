//! The order of a launch, and what each step carries, as its trace tells.

use std::io::{self, Write};
use std::sync::Mutex;

use cloister_firmware::measure::{Passes, measure_snp, measure_tdx};
use cloister_firmware::plan::{CpuState, Identity, InitialPrivacy, PageKind, PageRun};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::*;

const MEMORY: u64 = 32 << 20;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(buf)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A guest with firmware at the end of the first 4 GiB, and pages of every kind that `kind` has.
fn plan(kind: PlatformKind, vcpus: usize) -> LaunchPlan {
    let firmware = PageRun::bytes(0xffff_e000, PageKind::Measured, "firmware", vec![0xab; 0x2000]);
    let mut pages = vec![firmware];
    if kind == PlatformKind::Tdx {
        pages.push(PageRun::bytes(0x80_9000, PageKind::Unmeasured, "hand-off blocks", vec![1; 64]));
    } else {
        pages.push(PageRun::empty(0x80_0000, 2, PageKind::Zero, "SEC memory"));
        pages.push(PageRun::empty(0x80_d000, 1, PageKind::Secrets, "secrets"));
        pages.push(PageRun::empty(0x80_e000, 1, PageKind::Cpuid, "CPUID"));
    }
    let mut layout = GuestLayout::new(MEMORY);
    layout.firmware = Some(MemoryRange::new(0xffff_e000, 0x2000));
    LaunchPlan {
        pages,
        vcpus: vec![CpuState::reset(0x00a0_0f11); vcpus],
        identity: Identity { host_data: [7; 32], ..Identity::default() },
        layout,
        initial: InitialPrivacy::Private,
        td_hob: (kind == PlatformKind::Tdx).then_some(0x80_9000),
    }
}

fn options(kind: PlatformKind) -> LaunchOptions {
    LaunchOptions { kind, certificates: false, guest_memfd: false }
}

/// A dry launch: its trace, and the digest computed beneath.
fn launched(plan: &LaunchPlan, options: LaunchOptions) -> (Vec<Value>, Option<[u8; 48]>) {
    let sink = Sink::default();
    let trace = Arc::new(Trace::new(Box::new(sink.clone())));
    let digest = dry_run(plan, options, Some(Arc::clone(&trace))).unwrap();
    let lines = trace.end().unwrap();
    let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    let all: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(all.len() as u64, lines);
    assert!(all.iter().zip(1u64..).all(|(line, n)| line["seq"] == n));
    (all, digest)
}

/// Descriptor and name of each call; SEV and TDX commands by their own names, capabilities by theirs.
fn names(trace: &[Value]) -> Vec<String> {
    let short = |v: &Value| v.as_str().unwrap().trim_start_matches("KVM_").to_owned();
    let name = |line: &Value| match (&line["command"], &line["args"]["name"]) {
        (Value::String(_), _) => short(&line["command"]),
        (_, Value::String(cap)) => {
            format!("{} {}", short(&line["ioctl"]), cap.trim_start_matches("KVM_CAP_"))
        }
        _ => short(&line["ioctl"]),
    };
    trace.iter().map(|line| format!("{} {}", line["fd"].as_str().unwrap(), name(line))).collect()
}

/// coco.md 2.2, with nothing before, between or after.
#[test]
fn an_snp_launch_has_the_order_that_kvm_wants() {
    let plan = plan(PlatformKind::Snp, 2);
    let certificates = LaunchOptions { certificates: true, ..options(PlatformKind::Snp) };
    let (trace, digest) = launched(&plan, certificates);
    assert_eq!(
        names(&trace),
        [
            "kvm GET_API_VERSION",
            "kvm GET_SUPPORTED_CPUID",
            "kvm CHECK_EXTENSION VM_TYPES",
            "kvm GET_DEVICE_ATTR",
            "kvm GET_DEVICE_ATTR",
            "kvm GET_DEVICE_ATTR",
            "kvm CREATE_VM",
            "vm ENABLE_CAP EXIT_HYPERCALL",
            "vm ENABLE_CAP SPLIT_IRQCHIP",
            "vm SEV_INIT2",
            "vm SEV_SNP_ENABLE_REQ_CERTS",
            "vm SEV_SNP_LAUNCH_START",
            "vm CREATE_GUEST_MEMFD",
            "vm SET_USER_MEMORY_REGION2",
            "vm CREATE_GUEST_MEMFD",
            "vm SET_USER_MEMORY_REGION2",
            "vm SET_MEMORY_ATTRIBUTES",
            "vm SET_MEMORY_ATTRIBUTES",
            "vm CREATE_VCPU",
            "vcpu0 SET_CPUID2",
            "vcpu0 GET_SREGS",
            "vcpu0 SET_SREGS",
            "vcpu0 SET_REGS",
            "vm CREATE_VCPU",
            "vcpu1 SET_CPUID2",
            "vcpu1 GET_SREGS",
            "vcpu1 SET_SREGS",
            "vcpu1 SET_REGS",
            "vm SEV_SNP_LAUNCH_UPDATE",
            "vm SEV_SNP_LAUNCH_UPDATE",
            "vm SEV_SNP_LAUNCH_UPDATE",
            "vm SEV_SNP_LAUNCH_UPDATE",
            "vm SEV_SNP_LAUNCH_FINISH",
        ]
    );
    assert_eq!(digest, Some(measure_snp(&plan).unwrap().digest.0));
    let updates: Vec<_> = trace
        .iter()
        .filter(|l| l["command"] == "KVM_SEV_SNP_LAUNCH_UPDATE")
        .map(|l| &l["args"]["data"])
        .collect();
    let kinds: Vec<_> =
        updates.iter().map(|u| (u["gfn_start"].as_str().unwrap(), u["type"].as_u64())).collect();
    assert_eq!(kinds, [("0xffffe", Some(1)), ("0x800", Some(3)), ("0x80d", Some(5)), ("0x80e", Some(6))]);
    assert_eq!(
        updates[0]["sha256"],
        hex::encode(Sha256::digest([0xab; 0x2000])),
        "of the bytes that were given"
    );
    let finish = &trace.last().unwrap()["args"]["data"];
    assert_eq!(finish["host_data"], "07".repeat(32));
}

/// coco.md 3.2.
#[test]
fn a_td_launch_has_the_order_that_kvm_wants() {
    let plan = plan(PlatformKind::Tdx, 2);
    let (trace, digest) = launched(&plan, options(PlatformKind::Tdx));
    assert_eq!(
        names(&trace),
        [
            "kvm GET_API_VERSION",
            "kvm GET_SUPPORTED_CPUID",
            "kvm CHECK_EXTENSION VM_TYPES",
            "kvm CREATE_VM",
            "vm ENABLE_CAP EXIT_HYPERCALL",
            "vm ENABLE_CAP SPLIT_IRQCHIP",
            "vm ENABLE_CAP X2APIC_API",
            "vm ENABLE_CAP X86_APIC_BUS_CYCLES_NS",
            "vm TDX_CAPABILITIES",
            "vm TDX_INIT_VM",
            "vm CREATE_GUEST_MEMFD",
            "vm SET_USER_MEMORY_REGION2",
            "vm CREATE_GUEST_MEMFD",
            "vm SET_USER_MEMORY_REGION2",
            "vm SET_MEMORY_ATTRIBUTES",
            "vm SET_MEMORY_ATTRIBUTES",
            "vm CREATE_VCPU",
            "vcpu0 SET_CPUID2",
            "vcpu0 TDX_INIT_VCPU",
            "vcpu0 TDX_GET_CPUID",
            "vcpu0 SET_CPUID2",
            "vm CREATE_VCPU",
            "vcpu1 SET_CPUID2",
            "vcpu1 TDX_INIT_VCPU",
            "vcpu1 TDX_GET_CPUID",
            "vcpu1 SET_CPUID2",
            "vcpu0 TDX_INIT_MEM_REGION",
            "vcpu0 TDX_INIT_MEM_REGION",
            "vm TDX_FINALIZE_VM",
        ]
    );
    assert_eq!(digest, Some(measure_tdx(&plan, Passes::Single).unwrap().digest.0));
    let with = |command| trace.iter().find(|l| l["command"] == command).unwrap();
    assert_eq!(with("KVM_TDX_INIT_VCPU")["args"]["data"], "0x809000", "the value, and no address of it");
    assert_eq!(with("KVM_TDX_INIT_MEM_REGION")["args"]["flags"], 1);
    let mut commands = trace.iter().filter(|l| l["ioctl"] == "KVM_MEMORY_ENCRYPT_OP");
    assert!(
        commands.all(|l| l["args"]["hw_error"] == "0x0"),
        "KVM refuses a command that comes with another"
    );
    let timer = trace.iter().find(|l| l["args"]["name"] == "KVM_CAP_X86_APIC_BUS_CYCLES_NS").unwrap();
    assert_eq!(timer["args"]["args"][0], "0x28");
}

#[test]
fn simulated_launches_differ_in_their_memory_only() {
    for kind in [PlatformKind::Sim, PlatformKind::Protected] {
        let plan = plan(kind, 1);
        let (trace, digest) = launched(&plan, options(kind));
        assert_eq!(digest, Some(measure_snp(&plan).unwrap().digest.0), "{kind}");
        let names = names(&trace);
        let commands: Vec<_> = names.iter().filter(|n| n.starts_with("simulator")).collect();
        assert_eq!(commands.len(), 7, "{commands:?}");
        assert_eq!(commands[0], "simulator SEV_INIT2");
        assert_eq!(names.contains(&"vm CREATE_GUEST_MEMFD".to_owned()), kind == PlatformKind::Protected);
        // What the firmware would take of the vCPUs is read when it closes the launch.
        assert_eq!(
            names[names.len() - 3..],
            ["vcpu0 GET_REGS", "vcpu0 GET_SREGS", "simulator SEV_SNP_LAUNCH_FINISH"]
        );
    }
}

#[test]
fn plain_guests_are_loaded_and_no_more() {
    let plan = plan(PlatformKind::Off, 1);
    let (trace, digest) = launched(&plan, options(PlatformKind::Off));
    assert_eq!(digest, None);
    let slots = names(&trace).iter().filter(|n| *n == "vm SET_USER_MEMORY_REGION").count();
    assert_eq!(slots, 2);
    assert!(trace.iter().all(|line| line["errno"].is_null()));
    let (trace, _) = launched(&plan, LaunchOptions { guest_memfd: true, ..options(PlatformKind::Off) });
    assert!(names(&trace).contains(&"vm SET_USER_MEMORY_REGION2".to_owned()));
}

/// A trace is for bug reports: nothing of what goes into the guest is in it.
#[test]
fn a_trace_shows_no_page() {
    let mut plan = plan(PlatformKind::Snp, 1);
    let secret = b"a secret in guest memory";
    plan.pages[0] = PageRun::bytes(0xffff_e000, PageKind::Measured, "firmware", {
        let mut bytes = secret.repeat(400);
        bytes.truncate(0x2000);
        bytes
    });
    let (trace, _) = launched(&plan, options(PlatformKind::Snp));
    let text = serde_json::to_string(&trace).unwrap();
    assert!(!text.contains("secret in guest") && !text.contains(&hex::encode(&secret[..16])));
}

/// coco.md 4.5: RDX is measured, and leaf 1 says the same. Where RDX holds no processor, leaf 1 has the host's.
#[test]
fn an_snp_guest_is_told_of_the_cpu_that_it_measures_as() {
    let (genoa, of_the_dry_host) = (0x00a1_0f11u32, 0x00a0_0f11);
    for (rdx, told) in [(genoa, genoa), (0, of_the_dry_host)] {
        let mut plan = plan(PlatformKind::Snp, 2);
        plan.vcpus.iter_mut().for_each(|vcpu| vcpu.rdx = u64::from(rdx));
        let (trace, _) = launched(&plan, options(PlatformKind::Snp));
        let tables: Vec<_> = trace.iter().filter(|line| line["ioctl"] == "KVM_SET_CPUID2").collect();
        assert_eq!(tables.len(), 2);
        for table in tables {
            let entries = table["args"]["entries"].as_array().unwrap();
            let mut leaf_1 = entries.iter().filter(|e| e.as_str().unwrap().starts_with("function=0x1 "));
            let leaf_1 = leaf_1.next().unwrap().as_str().unwrap();
            assert!(leaf_1.contains(&format!("eax={told:#010x}")), "{leaf_1}");
        }
    }
}
