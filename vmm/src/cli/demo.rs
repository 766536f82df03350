//! `cloister demo`: a small guest planned, measured, launched and attested, with every step told.

mod boot_info;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;
use cloister_coco::launch::{HostAbilities, PlatformKind, choose};
use cloister_devices::virtio::dev::blk::Disk;
use cloister_firmware::measure::{Digest384, explain_difference, measure_snp};
use cloister_firmware::plan::{
    Identity, ImageFile, InitialPrivacy, LaunchPlan, PageKind, PageRun, PayloadBoot, plan_payload,
};
use sha2::{Digest, Sha256};

use self::boot_info::{BOUNCE_GPA, BOUNCE_PAGES, boot_info};
use super::attest::{Attestation, BrokerEnd, demo_policy};
use super::dry_run::{TraceFile, launch_dry};
use super::run::check_disk;
use super::story::{Story, To, memory_map, millis, passed_over};
use crate::board::{DeviceSpec, Event, Events, LaunchOptions, Machine, MachineSpec, VsockDevice};
use crate::config::{CocoPlatform, DiskSpec};
use crate::exit;
use crate::kvm::Host;
use crate::refusal::Refusal;
use crate::signals::Forwarder;

/// Flags of `cloister demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Change one byte of what is launched: the evidence must be refused
    #[arg(long)]
    tamper: bool,
    /// What to launch the guest on
    #[arg(long, value_enum, default_value = "auto", value_name = "PLATFORM")]
    coco: CocoPlatform,
    /// Number of vCPUs; the demo's guest has use for one
    #[arg(long, default_value = "1", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=254))]
    cpus: u32,
    /// The demo's guest [default: cloister-demo-guest beside this program]
    #[arg(long, value_name = "FILE")]
    payload: Option<PathBuf>,
    /// Read-only disk with a raw image: path=disk.raw,readonly=on; the demo's guest has no use for it
    #[arg(long, value_name = "path=FILE,readonly=on")]
    disk: Option<DiskSpec>,
    /// Go through the launch without a VM, and end
    #[arg(long)]
    dry_run: bool,
    /// Write down every ioctl of the launch in FILE, one JSON object a line, without guest memory
    #[arg(long, value_name = "FILE")]
    trace_launch: Option<PathBuf>,
}

/// Memory of the demo's guest.
const MEMORY: u64 = 64 << 20;
/// CPU signature in RDX at launch: EPYC, so that the digest is the same on every host.
pub(super) const SIGNATURE: u32 = 0x0080_0f12;
/// A guest that has not come to an end after this long never will.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) fn main(args: DemoArgs) -> ExitCode {
    match demo(&args) {
        Ok(code) => code,
        Err(refusal) => {
            eprintln!("cloister demo: {refusal}");
            ExitCode::from(exit::BAD_INPUT)
        }
    }
}

fn demo(args: &DemoArgs) -> Result<ExitCode, Refusal> {
    let disk = args.disk.as_ref().map(check_disk).transpose()?;
    let mut story = Story::begin(To::Stdout);
    // A dry run on a platform by name looks at no host.
    let host = match args.dry_run && args.coco != CocoPlatform::Auto {
        true => None,
        false => Some(Host::open().map_err(|e| Refusal::from_lines(&e.to_string()))?),
    };
    let abilities = host.as_ref().map_or(HostAbilities::ALL, |host| HostAbilities::read(&host.kvm));
    let choice = choose(args.coco.into(), abilities, unable).map_err(|why| {
        let why: Vec<_> = why.iter().map(|c| format!("{}: {}", c.kind, c.why_not)).collect();
        Refusal::new("cannot launch the demo as asked", why.join("; "), "use --coco auto or --coco sim")
    })?;
    story.step("platform", format_args!("{}: {}", choice.kind, describe(choice.kind)));
    passed_over(&story, &choice);
    story.to().loud(
        "the secure processor is SIMULATED: every step is real but the hardware; this proves nothing about it",
    );

    let mut plan = plan(args, choice.kind)?;
    let predicted = measure_snp(&plan).map_err(failed("measure the plan"))?;
    story.step("plan", format_args!("{} MiB of memory, {} vCPU", MEMORY >> 20, plan.vcpus.len()));
    memory_map(&story, &plan);
    story.more(format_args!("predicted launch digest {}", predicted.digest));

    let (policy, secret) = demo_policy(predicted.digest).map_err(failed("make the demo's policy"))?;
    let attestation = Attestation::new(policy).map_err(failed("prepare the attestation"))?;
    plan.identity.host_data = attestation.host_data();
    let secret: [u8; 32] = Sha256::digest(&secret).into();
    story.step("secret", format_args!("32 random bytes, sha256 {}", hex::encode(secret)));
    story.more("released to a guest with that digest, launched for this broker (HOST_DATA), and to no other");

    let launched = if args.tamper { tampered(&plan) } else { plan.clone() };
    if args.tamper {
        story.step(
            "tamper",
            format_args!("one byte at guest address {TAMPERED:#x} is changed, after the prediction"),
        );
        let now = measure_snp(&launched).map_err(failed("measure the changed plan"))?;
        if let Some(difference) = explain_difference(&predicted, &now) {
            story.more(difference);
        }
    }
    let trace = args.trace_launch.clone().map(TraceFile::create).transpose()?;
    match host.filter(|_| !args.dry_run) {
        Some(host) => {
            let extras = Extras { disk, trace };
            launch(&host, choice.kind, story, attestation, &launched, predicted.digest, extras)
        }
        None => {
            let options = LaunchOptions { kind: choice.kind, certificates: false, guest_memfd: false };
            let same = launch_dry(&mut story, &launched, options, predicted.digest, trace.as_ref());
            let same = same.map_err(failed("go through the launch"))?;
            Ok(ExitCode::from(if same { exit::OK } else { exit::FAILED }))
        }
    }
}

/// Where the demo's guest cannot be launched.
fn unable(kind: PlatformKind) -> Option<String> {
    match kind {
        PlatformKind::Protected | PlatformKind::Sim => None,
        PlatformKind::Snp => Some("the demo's guest has no GHCB driver, which SNP guests need".to_owned()),
        PlatformKind::Tdx => Some("the demo's guest is no firmware, and TDs start in firmware".to_owned()),
        PlatformKind::Off => Some("the demo's guest needs evidence, and a plain VM has none".to_owned()),
    }
}

/// What was asked for beside the guest itself.
struct Extras {
    disk: Option<Disk>,
    trace: Option<TraceFile>,
}

/// From here on things are created; what fails is a failure of ours and no longer a refusal.
fn launch(
    host: &Host,
    kind: PlatformKind,
    mut story: Story,
    attestation: Attestation,
    plan: &LaunchPlan,
    predicted: Digest384,
    Extras { disk, trace: file }: Extras,
) -> Result<ExitCode, Refusal> {
    let dir = tempfile::tempdir().map_err(failed("make a directory for the sockets"))?;
    let path = dir.path().join("vm.sock");
    let broker = attestation.serve(&path, story.to()).map_err(failed("start the broker"))?;

    let (sender, receiver) = mpsc::channel();
    let events = Events::new(sender);
    let _signals = Forwarder::start(events.clone()).map_err(failed("watch for signals"))?;
    let to = story.to();
    let devices = DeviceSpec {
        vsock: Some(VsockDevice { cid: 3, path }),
        disks: disk.into_iter().collect(),
        debug: Some(Box::new(move |line| to.line(format_args!("{:>9}  {:<9} {line}", "", "guest |")))),
        ..DeviceSpec::default()
    };
    let trace = file.as_ref().map(TraceFile::trace).transpose().map_err(failed("write the launch down"))?;
    let spec = MachineSpec { plan, kind, guest_memfd: false, prefault: None, trace: trace.clone(), devices };
    let launched = Machine::launch(host, spec, &events);
    let written = file.zip(trace).map(|(file, trace)| file.end(&trace));
    let machine = launched.map_err(failed("launch the guest"))?;
    story.step("launch", "memory private, pages measured and loaded, launch closed");
    written.iter().for_each(|text| story.more(text));
    if let Some(digest) = machine.launched_digest() {
        let digest = Digest384(digest);
        story.more(format_args!("launch digest, computed below {digest}"));
        let verdict = if digest == predicted { "the same as" } else { "NOT the one that was" };
        story.more(format_args!("which is {verdict} predicted"));
    }
    machine.run();
    let event = receiver.recv_timeout(PATIENCE).unwrap_or(Event::Fault("the guest came to no end".into()));
    story.step("guest", format_args!("{}", ended(&event)));
    let stats = machine.converter().stats();
    story.more(format_args!(
        "{} conversions in {}: {} pages turned shared, {} are private now; {} accesses of devices refused",
        // The launch itself turned memory private first.
        stats.conversions(),
        millis(stats.to_private.time + stats.to_shared.time),
        stats.to_shared.pages,
        stats.private_pages(),
        machine.converter().memory().refused()
    ));
    drop(machine);
    let end = broker.end();
    story.step("broker", &end);
    let total = millis(story.total());
    Ok(match (&end, &event) {
        (BrokerEnd::Confirmed, Event::Exit(0)) => {
            story
                .to()
                .line(format_args!("\nThe guest proved what it is and got its secret ({total} in all)."));
            ExitCode::from(exit::OK)
        }
        (BrokerEnd::Refused(_), _) => {
            story.to().line(format_args!(
                "\nThe evidence was refused; no secret left the broker ({total} in all)."
            ));
            ExitCode::from(exit::REFUSED)
        }
        (_, Event::Signal(_)) => exit::of(&event),
        _ => {
            eprintln!("cloister demo: the guest ended without its secret, and the broker refused nothing");
            ExitCode::from(exit::FAILED)
        }
    })
}

fn plan(args: &DemoArgs, kind: PlatformKind) -> Result<LaunchPlan, Refusal> {
    let path = match &args.payload {
        Some(path) => path.clone(),
        None => beside_this_program()?,
    };
    let what = "cannot plan the demo's guest";
    let remedy = "build it with `cargo xtask demo`, or name it with --payload";
    let image = ImageFile::open(&path).map_err(|e| Refusal::new(what, e, remedy))?;
    let boot = PayloadBoot {
        image,
        params: boot_info(kind),
        memory: MEMORY,
        vcpus: args.cpus,
        signature: SIGNATURE,
        identity: Identity::default(),
        initial: InitialPrivacy::Private,
        snp_pages: true,
        extra: Vec::new(),
        c_bit: None,
    };
    let plan = plan_payload(boot).map_err(|e| Refusal::from_message(what, &e.to_string(), remedy))?;
    debug_assert!(plan.layout.is_ram(BOUNCE_GPA, BOUNCE_PAGES * PageRun::PAGE_SIZE as u64));
    Ok(plan)
}

fn beside_this_program() -> Result<PathBuf, Refusal> {
    let mut path = std::env::current_exe().map_err(failed("find this program's own file"))?;
    path.set_file_name("cloister-demo-guest");
    Ok(path)
}

/// The last byte of the descriptor-table page: measured, and used by nobody.
const TAMPERED: u64 = 0x1fff;

/// The plan with one byte changed.
fn tampered(plan: &LaunchPlan) -> LaunchPlan {
    let mut plan = plan.clone();
    let hit = plan
        .pages
        .iter_mut()
        .find(|run| run.kind == PageKind::Measured && run.gpa <= TAMPERED && TAMPERED < run.end());
    if let Some(run) = hit {
        let mut bytes = vec![0; run.size() as usize];
        // The run was read a moment ago, when it was measured; what fails now fails at the launch too.
        let _ = run.read(0, &mut bytes);
        let at = (TAMPERED - run.gpa) as usize;
        bytes[at] ^= 1;
        *run = PageRun::bytes(run.gpa, run.kind, run.label, bytes);
    }
    plan
}

fn describe(kind: PlatformKind) -> &'static str {
    match kind {
        PlatformKind::Snp => "AMD SEV-SNP",
        PlatformKind::Tdx => "Intel TDX",
        PlatformKind::Protected => {
            "KVM's software-protected VM, private memory by guest_memfd, the simulator beneath the launch"
        }
        PlatformKind::Sim => "plain memory, the simulator beneath the launch",
        PlatformKind::Off => "a plain VM",
    }
}

fn ended(event: &Event) -> String {
    match event {
        Event::Exit(0) => "ended itself: done".to_owned(),
        Event::Exit(code) => format!("ended itself with code {code}"),
        other => format!("ended: {other:?}"),
    }
}

fn failed<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Refusal {
    move |e| Refusal::new(format_args!("cannot {what}"), e, "see the message above; -v tells more")
}
