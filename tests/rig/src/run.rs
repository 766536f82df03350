//! One run: QEMU and its file servers from start to end.

use crate::{
    child::{Reaped, dying_with_us},
    error::{Error, FileContext, Result},
    exec,
    file_server::FileServer,
    follow::{End, Limits, follow},
    host_kernel::HostKernel,
    l1,
    scratch::Scratch,
    tools::Tools,
};
use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// The status of a command that printed nothing for longer than it may.
pub const SILENT: i32 = 123;
/// The status of a command that did not end in time.
pub const TIMEOUT: i32 = 124;
/// The status when the rig's host died before the command ended.
pub const DIED: i32 = 125;

/// A command to run in the rig, and the machine to run it on.
#[derive(Clone, Debug)]
pub struct RunSpec {
    /// The command, for the shell.
    pub command: String,
    /// The directory it starts in.
    pub cwd: PathBuf,
    /// Variables added to its environment.
    pub env: Vec<(String, String)>,
    /// A directory that it may write to; everything else it writes is gone at the end.
    pub rw_dir: Option<PathBuf>,
    /// Memory of the rig's host, in MiB.
    pub mem: u32,
    /// Processors of the rig's host that commands run on.
    pub smp: u32,
    /// How long it may take.
    pub timeout: Duration,
    /// How long it may print nothing, from the start of the rig on: a host that stands still never says so.
    pub silence: Option<Duration>,
    /// Show QEMU's command line and the console.
    pub verbose: bool,
}

impl RunSpec {
    /// A shell command, in the current directory, which it may write to.
    pub fn shell(command: impl Into<String>) -> Self {
        let cwd = env::current_dir().unwrap_or_else(|_| "/".into());
        let rw_dir = (cwd != Path::new("/")).then(|| cwd.clone());
        let timeout = Duration::from_secs(300);
        Self {
            command: command.into(),
            cwd,
            env: Vec::new(),
            rw_dir,
            mem: 4096,
            smp: 2,
            timeout,
            silence: None,
            verbose: false,
        }
    }

    /// A program and its arguments; a single word is a command for the shell.
    pub fn words(words: &[String]) -> Self {
        match words {
            [line] => Self::shell(line),
            words => Self::shell(words.iter().map(|word| l1::quote(word)).collect::<Vec<_>>().join(" ")),
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The command's exit status, or [`SILENT`], or [`TIMEOUT`], or [`DIED`].
    pub status: i32,
    /// The last line that the command printed, ended or not.
    pub last_line: String,
    /// From the start of the rig to its end.
    pub elapsed: Duration,
    /// What the rig's host wrote to its console.
    pub console: String,
}

/// Runs a command, with what it prints going to `output` as it comes.
pub(crate) fn run(
    tools: &Tools,
    kernel: &HostKernel,
    spec: &RunSpec,
    output: &mut (dyn Write + Send),
) -> Result<Outcome> {
    let began = Instant::now();
    let scratch = Scratch::new()?;
    let initramfs = scratch.path("initramfs");
    l1::write_initramfs(tools, kernel, spec, &initramfs)?;

    let mut qemu = qemu(tools, kernel, spec, &scratch);
    let mut servers = vec![FileServer::start(tools, &scratch, "root", Path::new("/"), "always")?];
    if let Some(dir) = &spec.rw_dir {
        servers.push(FileServer::start(tools, &scratch, "dir", dir, "auto")?);
    }
    for server in &servers {
        server.attach(&mut qemu);
    }
    if spec.verbose {
        eprintln!("rig: {qemu:?}");
    }
    let errors = scratch.path("qemu.log");
    qemu.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&errors).file("create", &errors)?);
    let child = qemu.spawn().map_err(|error| {
        Error::new(
            "cannot start the rig's QEMU",
            error.to_string(),
            "delete the cache directory and run again",
        )
    })?;
    let limits = Limits { began, whole: spec.timeout, silence: spec.silence };
    let (end, last_line) = follow(Reaped(child), limits, output);

    let text = |path: &Path| {
        fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    };
    let console = text(&scratch.path("console"));
    if spec.verbose {
        eprint!("{console}");
    }
    let status = match (text(&scratch.path("status")).trim().parse(), end) {
        (Ok(status), _) => status,
        (Err(_), End::Itself) => {
            eprintln!("rig: its host died before the command ended; end of the console, and QEMU's errors:");
            eprintln!("{}", exec::last_lines(&console, 30));
            let errors = text(&errors);
            errors
                .lines()
                .filter(|line| !line.contains("doesn't support requested feature"))
                .for_each(|line| eprintln!("{line}"));
            DIED
        }
        (Err(_), End::Silent) => {
            let seconds = spec.silence.unwrap_or_default().as_secs();
            eprintln!(
                "\nrig: ended, because the command printed nothing for {seconds} s: it, or the rig's host, hangs"
            );
            eprintln!("rig: the last line that it printed: {}", named(&last_line));
            eprintln!("rig: end of the console:\n{}", exec::last_lines(&console, 15));
            SILENT
        }
        (Err(_), End::Late) => {
            eprintln!(
                "\nrig: ended, because the command did not end within {} s; allow it more where it needs more",
                spec.timeout.as_secs()
            );
            eprintln!("rig: the last line that it printed: {}", named(&last_line));
            eprintln!("rig: end of the console:\n{}", exec::last_lines(&console, 15));
            TIMEOUT
        }
    };
    Ok(Outcome { status, last_line, elapsed: began.elapsed(), console })
}

fn named(line: &str) -> &str {
    if line.is_empty() { "(none)" } else { line }
}

/// The machine: a q35 with an emulated AMD processor that has SVM and nested paging.
fn qemu(tools: &Tools, kernel: &HostKernel, spec: &RunSpec, scratch: &Scratch) -> Command {
    let mut qemu = dying_with_us(&tools.qemu());
    let mem = spec.mem;
    let processors = spec.smp.saturating_add(l1::RESERVED_PROCESSORS);
    let in_scratch = |prefix: &str, name: &str| {
        let mut argument = OsString::from(prefix);
        argument.push(scratch.path(name));
        argument
    };
    qemu.args(["-M", "q35,usb=off,smbus=off,sata=off,vmport=off", "-accel", "tcg,thread=multi"]);
    qemu.args(["-cpu", "EPYC,+svm,+npt", "-smp", &processors.to_string(), "-m", &mem.to_string()]);
    qemu.args([
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-vga",
        "none",
        "-no-reboot",
        "-monitor",
        "none",
    ]);
    // vhost-user servers read the guest's memory: it must be shared.
    qemu.args([
        "-object",
        &format!("memory-backend-memfd,id=mem,size={mem}M,share=on"),
        "-numa",
        "node,memdev=mem",
    ]);
    qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(scratch.path("initramfs"));
    qemu.args(["-append", &l1::command_line()]);
    qemu.arg("-serial").arg(in_scratch("file:", "console"));
    qemu.args(["-device", "virtio-serial-pci"]);
    qemu.args(["-chardev", "stdio,id=out,signal=off", "-device", "virtserialport,chardev=out,name=out"]);
    qemu.arg("-chardev").arg(in_scratch("file,id=status,path=", "status"));
    qemu.args(["-device", "virtserialport,chardev=status,name=status"]);
    qemu
}
