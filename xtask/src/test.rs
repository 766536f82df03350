//! `cargo xtask test`: every test there is, on whatever machine this is.

use crate::{
    Status, build, demo,
    hardware::Lane,
    kvm::Kvm,
    summary::{self, Count, Counter, Row},
};
use cloister_rig::{
    Cache, Error, HostKernelChoice, Options, Rig, RunSpec, Trimmed, firmware_images, guest_kernels,
    stock_firmware,
};
use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Tests with this in their name need VMs with private memory: KVM_SW_PROTECTED_VM, or the hardware.
const NEEDS_PRIVATE_MEMORY: &str = "protected";
const MACHINE_LIMIT: Duration = Duration::from_secs(40 * 60);
/// Each test prints a line as it ends, and none takes a minute in the rig: where nothing comes for so long, the emulated
/// host stands still.
const SILENCE_LIMIT: Duration = Duration::from_secs(5 * 60);

pub(crate) fn run(args: &[String]) -> Status {
    let filter = args.first().map(String::as_str);
    let lane = Lane::asked_for()?;
    let kvm = Kvm::probe();
    build::needs()?;
    let mut tests = Tests { rows: Vec::new(), notes: Vec::new() };
    if kvm != (Kvm::Hardware { private_memory: true }) {
        println!("{}", plan(&kvm));
        // First of all, because it takes longest; what is wrong with it is said when it is needed.
        if let Err(error) = Cache::open().and_then(|cache| Trimmed::start(&cache)) {
            tests.notes.push(format!("private memory: {error}"));
        }
    }
    tests.units(filter);
    match Machine::build() {
        Ok(machine) => {
            tests.machine(&machine, &kvm, filter);
            tests.hardware(&machine, lane, filter);
        }
        Err(error) => tests.broken("whole-machine tests", &error),
    }
    let nothing = filter.filter(|_| tests.rows.iter().all(|row| row.count == Count::default()));
    tests
        .notes
        .extend(nothing.map(|filter| format!("nothing was run: no test here has `{filter}` in its name")));
    Ok(summary::print(&tests.rows, &tests.notes).max(i32::from(nothing.is_some())))
}

fn plan(kvm: &Kvm) -> &'static str {
    match kvm {
        Kvm::Hardware { .. } => "this KVM has no private memory: the tests that need it run in the rig",
        _ => "no hardware virtualisation here: the whole-machine tests run in the rig",
    }
}

/// The hardware lane alone, on a host that must be one for it.
pub(crate) fn hardware(lane: Lane) -> Result<(Vec<Row>, Vec<String>), Error> {
    let mut tests = Tests { rows: Vec::new(), notes: Vec::new() };
    tests.hardware(&Machine::build()?, Some(lane), None);
    Ok((tests.rows, tests.notes))
}

struct Tests {
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Tests {
    fn units(&mut self, filter: Option<&str>) {
        let mut cargo = build::cargo();
        cargo.args(["test", "--workspace", "--locked", "--no-fail-fast"]).args(filter);
        // What a test could not check, for want of something that others publish, it writes there.
        let notes = env::temp_dir().join(format!("cloister-notes-{}", std::process::id()));
        cargo.env("CLOISTER_NOTES", &notes);
        self.local("workspace: units, devices, doc tests", &mut cargo);
        self.notes.extend(fs::read_to_string(&notes).unwrap_or_default().lines().map(str::to_owned));
        let _ = fs::remove_file(&notes);
        // A workspace of its own, which the line above does not reach.
        let mut cargo = build::payload_cargo();
        cargo.args(["test", "--lib", "--locked"]).args(filter);
        self.local("the demo's guest: units", &mut cargo);
    }

    fn machine(&mut self, machine: &Machine, kvm: &Kvm, filter: Option<&str>) {
        let names: Vec<_> =
            machine.names.iter().filter(|name| filter.is_none_or(|filter| name.contains(filter))).collect();
        let (private, plain): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| name.contains(NEEDS_PRIVATE_MEMORY));
        match kvm {
            Kvm::Hardware { private_memory } => {
                let here = if *private_memory { plain.len() + private.len() } else { plain.len() };
                if here > 0 {
                    let mut command = Command::new(&machine.binary);
                    command.args(filter).args(["--test-threads", "1"]).envs(machine.env.iter().cloned());
                    if !private_memory {
                        command.args(["--skip", NEEDS_PRIVATE_MEMORY]);
                    }
                    self.local("whole machines, on this machine's KVM", &mut command);
                }
                if !private_memory {
                    self.private_in_rig(machine, &private);
                }
            }
            _ => self.in_rig(machine, &plain, &private, filter),
        }
        if filter.is_none_or(|filter| "demo".contains(filter)) {
            self.demo(machine);
        }
    }

    /// Plain tests run on whichever kernel is there; those with private memory wait for theirs.
    fn in_rig(&mut self, machine: &Machine, plain: &[&String], private: &[&String], filter: Option<&str>) {
        let built = Cache::open().and_then(|cache| Trimmed::state(&cache));
        if matches!(built, Ok(Trimmed::Ready(_))) {
            if plain.len() + private.len() > 0 {
                self.rig(
                    "whole machines, in the rig",
                    machine,
                    HostKernelChoice::Trimmed,
                    &filter.into_iter().collect::<Vec<_>>(),
                );
            }
            return;
        }
        if !plain.is_empty() {
            let arguments: Vec<_> = filter.into_iter().chain(["--skip", NEEDS_PRIVATE_MEMORY]).collect();
            self.rig(
                "whole machines, in the rig on Debian's kernel",
                machine,
                HostKernelChoice::Debian,
                &arguments,
            );
        }
        self.private_in_rig(machine, private);
    }

    fn private_in_rig(&mut self, machine: &Machine, private: &[&String]) {
        if !private.is_empty() {
            let mut arguments: Vec<_> = private.iter().map(|name| name.as_str()).collect();
            arguments.push("--exact");
            let what = "private memory, in the rig on the trimmed kernel";
            self.rig(what, machine, HostKernelChoice::Trimmed, &arguments);
        }
    }

    fn rig(&mut self, what: &str, machine: &Machine, kernel: HostKernelChoice, arguments: &[&str]) {
        let began = Instant::now();
        println!("\n== {what}");
        let binary = machine.binary.display().to_string();
        let words: Vec<_> =
            [&binary, "--test-threads", "1"].iter().chain(arguments).map(|word| (*word).to_owned()).collect();
        let mut spec = RunSpec::words(&words);
        spec.cwd = build::root().join("tests");
        spec.rw_dir = None;
        spec.env.clone_from(&machine.env);
        spec.timeout = MACHINE_LIMIT;
        spec.silence = Some(SILENCE_LIMIT);
        let mut output = Counter::new(io::stdout());
        let options = Options { kernel, ..Options::default() };
        match Rig::prepare(&options).and_then(|rig| rig.run(&spec, &mut output)) {
            Ok(outcome) => {
                self.notes.extend(summary::cut_short(&outcome, &spec).map(|why| format!("{what}: {why}")));
                self.row(what, output.count.with_status(outcome.status == 0), began)
            }
            Err(error) => self.broken(what, &error),
        }
    }

    /// The tests that need a real SNP or TDX host: run where they were asked for, which fails on another host;
    /// counted everywhere else.
    fn hardware(&mut self, machine: &Machine, lane: Option<Lane>, filter: Option<&str>) {
        let what = "hardware lane";
        let listed = build::hardware_tests().and_then(|binary| Ok((names(&binary)?, binary)));
        let (names, binary) = match listed {
            Ok(listed) => listed,
            Err(error) => return self.broken(what, &error),
        };
        let names = names.into_iter().filter(|name| filter.is_none_or(|filter| name.contains(filter)));
        let (run, skipped) = Lane::split(lane, names.collect());
        if !skipped.is_empty() {
            let count = skipped.len();
            self.notes.push(format!(
                "skipped: {what}, {count} tests (not asked for: CLOISTER_HARDWARE=snp or tdx)"
            ));
        }
        let Some(lane) = lane.filter(|_| !run.is_empty()) else { return };
        if let Err(error) = lane.require(&machine.cloister) {
            return self.broken(what, &error);
        }
        let mut command = Command::new(&binary);
        command.args(run).args(["--exact", "--test-threads", "1"]).envs(machine.env.iter().cloned());
        self.local(&format!("{what}: {}", lane.name()), &mut command);
    }

    fn demo(&mut self, machine: &Machine) {
        let began = Instant::now();
        println!("\n== demonstration");
        match demo::start(&machine.cloister, &[]) {
            Ok(0) => self.row("demonstration", Count { passed: 1, ..Count::default() }, began),
            Ok(_) => self.row("demonstration", Count::default().with_status(false), began),
            Err(error) => self.broken("demonstration", &error),
        }
    }

    /// Runs tests on this machine.
    fn local(&mut self, what: &str, command: &mut Command) {
        let began = Instant::now();
        println!("\n== {what}");
        let mut output = Counter::new(io::stdout());
        let run = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().and_then(|mut child| {
            if let Some(mut pipe) = child.stdout.take() {
                io::copy(&mut pipe, &mut output)?;
            }
            child.wait()
        });
        match run {
            Ok(status) => self.row(what, output.count.with_status(status.success()), began),
            Err(error) => {
                self.broken(what, &Error::new("cannot start them", error.to_string(), "build again"))
            }
        }
    }

    fn row(&mut self, what: &str, count: Count, began: Instant) {
        let _ = io::stdout().flush();
        self.rows.push(Row { what: what.into(), count, seconds: began.elapsed().as_secs() });
    }

    /// Tests that could not run at all are a failure.
    fn broken(&mut self, what: &str, error: &Error) {
        eprintln!("xtask: {what} could not run: {error}");
        self.notes.push(format!("{what} could not run: {error}"));
        self.rows.push(Row { what: what.into(), count: Count::default().with_status(false), seconds: 0 });
    }
}

/// The whole-machine tests and all that they run.
struct Machine {
    cloister: PathBuf,
    binary: PathBuf,
    names: Vec<String>,
    env: Vec<(String, String)>,
}

impl Machine {
    fn build() -> Result<Self, Error> {
        let cloister = build::cloister()?;
        let payload = build::payload()?;
        let conversion = build::conversion_guest()?;
        let agent = build::agent()?;
        let binary = build::machine_tests()?;
        let kernels = guest_kernels()?;
        // In the rig there is no network to fetch them from.
        build::observers()?;
        firmware_images()?;
        stock_firmware()?;
        let kernels = env::join_paths(kernels.iter().map(|kernel| &kernel.dir)).unwrap_or_default();
        let path = |path: &Path| path.display().to_string();
        let env = vec![
            ("CLOISTER_MACHINE".into(), "1".into()),
            ("CLOISTER_BIN".into(), path(&cloister)),
            ("CLOISTER_AGENT".into(), path(&agent)),
            ("CLOISTER_PAYLOAD".into(), path(&payload)),
            ("CLOISTER_CONVERSION_PAYLOAD".into(), path(&conversion)),
            ("CLOISTER_GUEST_KERNELS".into(), kernels.to_string_lossy().into_owned()),
        ];
        let names = names(&binary)?;
        Ok(Self { cloister, binary, names, env })
    }
}

/// The names of the tests in a libtest binary.
fn names(binary: &Path) -> Result<Vec<String>, Error> {
    let output = Command::new(binary).args(["--list", "--format", "terse"]).stdin(Stdio::null()).output();
    let output = output.map_err(|error| {
        Error::new("cannot list the whole-machine tests", error.to_string(), "build again")
    })?;
    let list = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}
