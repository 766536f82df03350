//! `cloister run`: plan, launch and run a guest until it ends.

mod abilities;
mod check;
mod dry_run;
mod firmware;
mod guest;
mod identity;
mod plan;
mod platform;
mod stats;
#[cfg(test)]
mod test_files;
#[cfg(test)]
mod wire_tests;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use clap::Args;
use cloister_coco::launch::{Choice, PlatformKind};
use cloister_devices::platform::SerialInput;
use cloister_firmware::measure::Digest384;
use cloister_firmware::plan::LaunchPlan;

use self::check::Checked;
pub(super) use self::check::check_disk;
use self::dry_run::dry_run;
use self::plan::plan;
pub(super) use self::plan::{Planned, plan_for, plan_unmeasured};
use self::platform::choose_platform;
use self::stats::MemoryReport;
use super::attest::{Attestation, BrokerEnd, Policy, policy_text};
use super::doctor::what_is_missing;
use super::dry_run::TraceFile;
use super::progress;
use super::story::{Story, To, memory_map, passed_over};
use crate::board::{
    CocoServices, DeviceSpec, Event, Events, FirmwareSpec, Machine, MachineSpec, VsockDevice, Watchdog,
    printable,
};
use crate::config::{ConsoleSpec, StatsSpec, VmSpec};
use crate::exit;
use crate::kvm::Host;
use crate::refusal::Refusal;
use crate::signals::Forwarder;
use crate::terminal::RawTerminal;

/// Flags of `cloister run`.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    spec: VmSpec,
    /// Read the guest's specification from a TOML or JSON file, with the flags' names as keys
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the policy that accepts this very guest, and end
    #[arg(long)]
    print_policy: bool,
    /// Plan the guest and go through its whole launch without a VM: no /dev/kvm, no root, no hardware
    #[arg(long, conflicts_with = "print_policy")]
    dry_run: bool,
    /// Write down every ioctl of the launch in FILE, one JSON object a line, without guest memory
    #[arg(long, value_name = "FILE", conflicts_with = "print_policy")]
    trace_launch: Option<PathBuf>,
}

pub(super) fn main(args: RunArgs) -> ExitCode {
    let refuse = |refusal: Refusal| {
        eprintln!("cloister run: {refusal}");
        ExitCode::from(exit::BAD_INPUT)
    };
    let checked = match check(args.config, args.spec) {
        Ok(checked) => checked,
        Err(refusal) => return refuse(refusal),
    };
    if args.print_policy {
        return print_policy(&checked).map_or_else(refuse, |()| ExitCode::SUCCESS);
    }
    let trace = match args.trace_launch.map(TraceFile::create).transpose() {
        Ok(trace) => trace,
        Err(refusal) => return refuse(refusal),
    };
    if args.dry_run {
        return dry_run(&checked, trace.as_ref()).unwrap_or_else(refuse);
    }
    match Run::prepare(checked, trace) {
        Ok(run) => run.until_the_end().unwrap_or_else(|message| {
            eprintln!("cloister run: {message}");
            ExitCode::from(exit::FAILED)
        }),
        Err(refusal) => refuse(refusal),
    }
}

fn check(config: Option<PathBuf>, flags: VmSpec) -> Result<Checked, Refusal> {
    let file = config.map(|path| VmSpec::read(&path)).transpose()?.unwrap_or_default();
    Checked::new(flags.over(file))
}

fn print_policy(checked: &Checked) -> Result<(), Refusal> {
    let choice = choose_platform(&checked.guest, None)?;
    if choice.kind == PlatformKind::Tdx {
        return Err(Refusal::new(
            "there is no policy that accepts a TD",
            "policies are for SNP's reports, and the built-in broker judges no quotes",
            "get the values for your verifier from `cloister measure tdx`",
        ));
    }
    if !choice.kind.has_evidence() {
        return Err(Refusal::new(
            "there is no policy that accepts a plain guest",
            "a plain VM has no evidence that a policy could judge",
            "choose --coco sim (to try it out) or a platform with hardware",
        ));
    }
    let planned = plan(&checked.guest, choice.kind, None)?;
    print!("{}", policy_text(planned.predicted(), !choice.kind.is_hardware()));
    Ok(())
}

/// A run whose every request has been checked: from here on things are created.
struct Run {
    checked: Checked,
    host: Host,
    choice: Choice,
    plan: LaunchPlan,
    firmware: Option<FirmwareSpec>,
    predicted: Digest384,
    signature_of_host: Option<u32>,
    trace: Option<TraceFile>,
}

impl Run {
    fn prepare(checked: Checked, trace: Option<TraceFile>) -> Result<Self, Refusal> {
        let host = Host::open().map_err(|e| Refusal::from_lines(&e.to_string()))?;
        checked.check_host(&host)?;
        let choice = choose_platform(&checked.guest, Some(&host))?;
        let planned = plan(&checked.guest, choice.kind, Some(&host))?;
        let predicted = planned.predicted();
        let Planned { plan, firmware, signature_of_host, .. } = planned;
        Ok(Run { checked, host, choice, plan, firmware, predicted, signature_of_host, trace })
    }

    fn until_the_end(self) -> Result<ExitCode, String> {
        let mut story = Story::begin(To::Stderr);
        let kind = self.choice.kind;
        story.step("platform", kind);
        passed_over(&story, &self.choice);
        match kind {
            PlatformKind::Off => {
                story.to().loud("PLAIN VM: the host can read and change everything in this guest")
            }
            PlatformKind::Sim | PlatformKind::Protected => story
                .to()
                .loud("SIMULATED secure processor: what this guest attests proves nothing about hardware"),
            PlatformKind::Snp | PlatformKind::Tdx => {}
        }
        story.step(
            "plan",
            format_args!("{} vCPUs, {} MiB", self.plan.vcpus.len(), self.checked.guest.memory >> 20),
        );
        memory_map(&story, &self.plan);
        if kind.has_evidence() {
            story.more(format_args!("predicted launch digest {}", self.predicted));
        }
        if let Some(signature) = self.signature_of_host {
            story.more(format_args!(
                "CPU signature {signature:#x}, this host's: other hosts give another digest, unless it is named \
                 there (--cpu-sig {signature:#x})"
            ));
        }
        let (sender, receiver) = mpsc::channel();
        let events = Events::new(sender);
        let _signals =
            Forwarder::start(events.clone()).map_err(|e| format!("cannot watch for signals: {e}"))?;
        let stdio = self.checked.guest.console(kind) == ConsoleSpec::Stdio;
        let terminal = if stdio { RawTerminal::enter().map_err(|e| format!("terminal: {e}"))? } else { None };
        let keys = if stdio { Some(keyboard().map_err(|e| format!("standard input: {e}"))?) } else { None };

        let life = Life { run: &self, events, receiver, keys };
        let (event, broker) = loop {
            let (event, broker) = life.live(&mut story)?;
            if event != Event::Reset || self.checked.no_reboot {
                break (event, broker);
            }
            story.step("reset", "the guest is built anew from its plan");
        };
        drop(terminal);
        story.step("end", describe(&event));
        if let Some(end) = broker {
            story.step("broker", &end);
            if matches!(end, BrokerEnd::Refused(_)) && event == Event::PowerOff {
                return Ok(ExitCode::from(exit::REFUSED));
            }
        }
        Ok(exit::of(&event))
    }
}

/// What one life of the guest after the other needs.
struct Life<'a> {
    run: &'a Run,
    events: Events,
    receiver: Receiver<Event>,
    keys: Option<KeySwitch>,
}

impl Life<'_> {
    /// One life with a broker of its own: a launch is bound to one broker, and a broker to one launch.
    fn live(&self, story: &mut Story) -> Result<(Event, Option<BrokerEnd>), String> {
        let checked = &self.run.checked;
        let mut plan = self.run.plan.clone();
        let broker = match (&checked.policy, &checked.vsock) {
            (Some(policy), Some(vsock)) => {
                let attestation = Attestation::new(Policy::clone(policy))?;
                plan.identity.host_data = attestation.host_data();
                let served = attestation.serve(&vsock.path, story.to());
                Some(served.map_err(|e| format!("cannot start the broker: {e}"))?)
            }
            _ => None,
        };
        let event = self.machine(story, &plan)?;
        Ok((event, broker.map(super::attest::RunningBroker::end)))
    }

    /// From launch to what ends the guest.
    fn machine(&self, story: &mut Story, plan: &LaunchPlan) -> Result<Event, String> {
        let Life { run, events, receiver, keys } = self;
        let kind = run.choice.kind;
        let devices = DeviceSpec {
            services: CocoServices {
                quotes: run.checked.quote_service.clone(),
                certs: run.checked.certs.clone(),
            },
            vsock: run
                .checked
                .vsock
                .as_ref()
                .map(|v| VsockDevice { cid: u64::from(v.cid), path: v.path.clone() }),
            rng: true,
            disks: run.checked.disks.clone(),
            firmware: run.firmware.clone(),
            firmware_log: run.checked.debug_console.as_deref().map(append_to).transpose()?,
            serial: run.serial(kind)?,
            debug: None,
        };
        let trace = run.trace.as_ref().map(TraceFile::trace).transpose()?;
        let prefault = run.checked.prefault.then(|| progress::bar("prefault"));
        let guest_memfd = run.checked.guest_memfd;
        let spec = MachineSpec { plan, kind, guest_memfd, prefault, trace: trace.clone(), devices };
        let launched = Machine::launch(&run.host, spec, events);
        let written = run.trace.as_ref().zip(trace).map(|(file, trace)| file.end(&trace));
        let mut machine = match launched {
            Ok(machine) => machine,
            Err(e) => {
                let written = written.map_or_else(String::new, |text| format!(" ({text})"));
                return Err(format!("cannot launch the guest: {e}{written}{}", what_is_missing(kind)));
            }
        };
        story.step("launch", "pages loaded, launch closed");
        written.iter().for_each(|text| story.more(text));
        if let Some(digest) = machine.launched_digest() {
            let digest = Digest384(digest);
            story.more(format_args!("launch digest, computed below {digest}"));
            if digest != run.predicted {
                return Err(format!(
                    "the guest that was launched ({digest}) is not the one that was planned ({}): \
                     did a file change in between?",
                    run.predicted
                ));
            }
        }
        if let (Some(keys), Some(input)) = (keys, machine.serial_input()) {
            keys.set(Some(input));
        }
        machine.run();
        let event = wait_for_the_end(receiver, machine.watchdog());
        if let Some(keys) = keys {
            keys.set(None);
        }
        let report = MemoryReport::of(machine.converter());
        drop(machine);
        if kind.has_evidence() {
            story.more(format_args!(
                "{} conversions, {} refused, {} pages private at the end",
                report.stats.conversions(),
                report.stats.refused,
                report.stats.private_pages()
            ));
        }
        match run.checked.stats {
            Some(StatsSpec::Text) => report.to_string().lines().for_each(|line| story.more(line)),
            Some(StatsSpec::Json) => story.to().line(report.json()),
            None => {}
        }
        // What the guest's other vCPUs still said is about a machine that is gone; signals are not.
        let later: Vec<_> = receiver.try_iter().collect();
        Ok(later.into_iter().find(|e| matches!(e, Event::Signal(_))).unwrap_or(event))
    }
}

impl Run {
    fn serial(&self, kind: PlatformKind) -> Result<Option<Box<dyn Write + Send>>, String> {
        Ok(match self.checked.guest.console(kind) {
            ConsoleSpec::Off => None,
            ConsoleSpec::Stdio => Some(Box::new(io::stdout())),
            ConsoleSpec::File(path) => Some(Box::new(append_to(&path)?)),
        })
    }
}

fn append_to(path: &Path) -> Result<File, String> {
    let file = File::options().create(true).append(true).open(path);
    file.map_err(|e| format!("console file {}: {e}", path.display()))
}

/// What ends the guest; firmware that stands still ends it too.
fn wait_for_the_end(receiver: &Receiver<Event>, watchdog: Option<&mut Watchdog>) -> Event {
    let gone = || Event::Fault("all event senders are gone".to_owned());
    let Some(watchdog) = watchdog else { return receiver.recv().unwrap_or_else(|_| gone()) };
    loop {
        match receiver.recv_timeout(Watchdog::PERIOD) {
            Ok(event) => return event,
            Err(RecvTimeoutError::Disconnected) => return gone(),
            Err(RecvTimeoutError::Timeout) => {
                if let Some(refused) = watchdog.look() {
                    return Event::Refused(refused.to_string());
                }
            }
        }
    }
}

fn describe(event: &Event) -> String {
    match event {
        Event::PowerOff => "the guest switched itself off".to_owned(),
        Event::Reset => "the guest asked for a reset".to_owned(),
        Event::Panic => "the guest's kernel panicked".to_owned(),
        Event::Crash(what) => format!("the guest crashed: {}", printable(what.as_bytes())),
        Event::Refused(why) => why.clone(),
        Event::Exit(code) => format!("the guest ended with code {code}"),
        Event::Signal(number) => format!("ended by signal {number}"),
        Event::Fault(what) => format!("the VMM failed: {what}"),
    }
}

/// Where the operator's keys go now: to the guest's serial port, or nowhere.
#[derive(Clone)]
struct KeySwitch(std::sync::Arc<std::sync::Mutex<Option<SerialInput>>>);

impl KeySwitch {
    fn set(&self, input: Option<SerialInput>) {
        *self.0.lock().unwrap_or_else(|e| e.into_inner()) = input;
    }

    fn get(&self) -> Option<SerialInput> {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
}

/// Reads standard input for the guest, on a thread of its own that ends with the process.
fn keyboard() -> io::Result<KeySwitch> {
    let switch = KeySwitch(Default::default());
    let ours = switch.clone();
    std::thread::Builder::new().name("keyboard".to_owned()).spawn(move || {
        let mut buffer = [0; 256];
        while let Ok(n @ 1..) = io::stdin().read(&mut buffer) {
            let mut rest = &buffer[..n];
            while let (false, Some(input)) = (rest.is_empty(), ours.get()) {
                rest = &rest[input.offer(rest).min(rest.len())..];
                if !rest.is_empty() {
                    // A guest that does not read: wait, and see whether it is still the same one.
                    input.wait_for_room(Duration::from_millis(500));
                }
            }
        }
    })?;
    Ok(switch)
}
